package kubernetes_test

import (
	"path"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/nines-ha/nines/render/kubernetes"
	"github.com/nines-ha/nines/system"
)

// A service learns where traces go, and its own environment has the last word.
func TestTracesInTheEnvironment(t *testing.T) {
	const endpoint, sampler = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER_ARG"
	for text, want := range map[string][2]string{
		"":                        {"", ""},
		"traces: {sample: 0.25%}": {"http://opentelemetry-collector.observability.svc.cluster.local:4318", "0.0025"},
		"traces: {sample: 100%}":  {"http://opentelemetry-collector.observability.svc.cluster.local:4318", "1"},
	} {
		for env, own := range map[string]string{"": want[0], "http://mine:4318": "http://mine:4318"} {
			description := "name: fleet\n" + text + "\nservices: {vehicle: {image: 'registry.local/fleet/vehicle:1'"
			if env != "" {
				description += ", env: {" + endpoint + ": '" + env + "'}"
			}
			sys, err := system.Parse([]byte(description+"}}\n"), "nines.yaml")
			if err != nil {
				t.Fatal(err)
			}
			files, err := kubernetes.Render(sys, "westeurope", nil, kubernetes.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var config corev1.ConfigMap
			for _, f := range files {
				if path.Base(f.Path) == "configmap.yaml" {
					if err := yaml.UnmarshalStrict(f.Body, &config); err != nil {
						t.Fatal(err)
					}
				}
			}
			if config.Data[endpoint] != own || config.Data[sampler] != want[1] {
				t.Errorf("%q with its own %q: %v", text, env, config.Data)
			}
		}
	}
}
