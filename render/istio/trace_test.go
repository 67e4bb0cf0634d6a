package istio_test

import (
	"path"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	meshapi "istio.io/api/mesh/v1alpha1"
	telemetry "istio.io/client-go/pkg/apis/telemetry/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/nines-ha/nines/render/istio"
)

// The provider that the telemetry names is in the mesh's configuration, its
// collector is where services export to, and each proxy may know it; without traces
// there is none of it.
func TestTraces(t *testing.T) {
	const text = "name: fleet\nservices: {vehicle: {source: ./vehicle}, command: {source: ./command}}\n"
	for name, one := range map[string]struct {
		text string
		want float64
	}{"traced": {text + "traces: {sample: 0.25%}\n", 0.25}, "not traced": {text, 0}} {
		var providers []*meshapi.MeshConfig_ExtensionProvider
		var spec *telemetry.Telemetry
		all := renderAll(t, parseText(t, one.text))
		for _, f := range all {
			switch path.Base(f.Path) {
			case "shared-configmap.yaml":
				config := strict(t, f, &corev1.ConfigMap{})
				body, err := yaml.YAMLToJSON([]byte(config.Data["mesh"]))
				var mesh meshapi.MeshConfig
				if err == nil {
					err = protojson.Unmarshal(body, &mesh)
				}
				if err != nil {
					t.Fatal(err)
				}
				providers = mesh.ExtensionProviders
			case "telemetry.yaml":
				spec = strict(t, f, &telemetry.Telemetry{})
			}
		}
		for service, sidecar := range readAll(t, all).sidecars {
			if slices.Contains(sidecar.Spec.Egress[0].Hosts, "observability/opentelemetry-collector.observability.svc.cluster.local") != (one.want > 0) {
				t.Errorf("%s: %s knows %v", name, service, sidecar.Spec.Egress[0].Hosts)
			}
		}
		if one.want == 0 {
			if len(providers) != 1 || len(spec.Spec.Tracing) != 0 {
				t.Errorf("%s: %v, %v", name, providers, spec.Spec.Tracing)
			}
			continue
		}
		if len(spec.Spec.Tracing) != 1 || len(spec.Spec.AccessLogging) != 1 || spec.Spec.Tracing[0].RandomSamplingPercentage.GetValue() != one.want {
			t.Fatalf("%s: %v", name, &spec.Spec)
		}
		wanted := spec.Spec.Tracing[0].Providers[0].Name
		i := slices.IndexFunc(providers, func(p *meshapi.MeshConfig_ExtensionProvider) bool { return p.Name == wanted })
		if i < 0 {
			t.Fatalf("%s: no provider %s", name, wanted)
		}
		if o := providers[i].GetOpentelemetry(); o.GetService() != istio.CollectorHost || o.GetPort() != istio.CollectorPort || o.GetHttp().GetPath() != "/v1/traces" {
			t.Errorf("%s: %v", name, o)
		}
	}
}
