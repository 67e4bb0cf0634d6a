package istio_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	meshapi "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/nines-ha/nines/render/istio"

	"github.com/nines-ha/nines/render/rendertest"
)

// The fields that the add-on's admission lets through, "allowed" and
// "supported", as https://learn.microsoft.com/azure/aks/istio-meshconfig lists
// them in August 2026. What is not in the list is blocked.
var (
	meshFields = strings.Fields(`proxyListenPort proxyInboundListenPort proxyHttpPort connectTimeout tcpKeepalive defaultConfig
		outboundTrafficPolicy extensionProviders defaultProviders accessLogFile accessLogFormat accessLogEncoding enableTracing
		enableEnvoyAccessLogService disableEnvoyListenerLog trustDomain trustDomainAliases caCertificates defaultServiceExportTo
		defaultVirtualServiceExportTo defaultDestinationRuleExportTo localityLbSetting dnsRefreshRate h2UpgradePolicy
		enablePrometheusMerge discoverySelectors pathNormalization defaultHttpRetryPolicy serviceSettings meshMTLS tlsDefaults
		ingressService ingressSelector`)
	proxyFields = strings.Fields(`tracingServiceName drainDuration statsUdpAddress proxyAdminPort tracing concurrency
		envoyAccessLogService envoyMetricsService proxyMetadata statusPort extraStatTags gatewayTopology proxyStatsMatcher
		terminationDrainDuration meshId holdApplicationUntilProxyStarts caCertificatesPem privateKeyProvider proxyHeaders`)
)

// The kinds that may be rendered. The add-on refuses ProxyConfig, WorkloadEntry,
// WorkloadGroup, IstioOperator and WasmPlugin, and does not support EnvoyFilter
// (https://learn.microsoft.com/azure/aks/istio-about).
var kinds = []string{
	"v1 ConfigMap",
	"security.istio.io/v1 PeerAuthentication", "security.istio.io/v1 AuthorizationPolicy",
	"networking.istio.io/v1 Gateway", "networking.istio.io/v1 VirtualService", "networking.istio.io/v1 DestinationRule",
	"networking.istio.io/v1 Sidecar", "networking.istio.io/v1 ServiceEntry",
	"telemetry.istio.io/v1 Telemetry",
}

func TestAddOnAdmitsIt(t *testing.T) {
	for _, name := range []string{everything, "../../examples/fleet/nines.yaml"} {
		maps := 0
		for _, f := range renderAll(t, rendertest.Parse(t, name)) {
			var object struct {
				APIVersion string `json:"apiVersion"`
				Kind       string `json:"kind"`
				Metadata   struct {
					Name      string `json:"name"`
					Namespace string `json:"namespace"`
				} `json:"metadata"`
			}
			if err := yaml.Unmarshal(f.Body, &object); err != nil {
				t.Fatal(err)
			}
			if kind := object.APIVersion + " " + object.Kind; !slices.Contains(kinds, kind) {
				t.Errorf("%s: %s is not a kind for the add-on", f.Path, kind)
			}
			if object.Metadata.Namespace != "fleet" && object.Metadata.Namespace != istio.SystemNamespace {
				t.Errorf("%s: in namespace %q", f.Path, object.Metadata.Namespace)
			}
			if object.Kind != "ConfigMap" {
				continue
			}
			maps++
			// The default one, istio-asm-1-31, is the add-on's.
			if object.Metadata.Name != "istio-shared-configmap-asm-1-31" || object.Metadata.Namespace != "aks-istio-system" {
				t.Errorf("%s: %+v is not read by the add-on", f.Path, object.Metadata)
			}
			checkMeshConfig(t, f.Body)
		}
		if maps != 1 {
			t.Errorf("%d configurations of the mesh", maps)
		}
	}
}

func checkMeshConfig(t *testing.T, body []byte) {
	t.Helper()
	var object corev1.ConfigMap
	if err := yaml.UnmarshalStrict(body, &object); err != nil {
		t.Fatal(err)
	}
	if len(object.Data) != 1 {
		t.Errorf("data has %d keys; the add-on reads mesh", len(object.Data))
	}
	var config map[string]any
	if err := yaml.Unmarshal([]byte(object.Data["mesh"]), &config); err != nil {
		t.Fatal(err)
	}
	proxy, ok := config["defaultConfig"].(map[string]any)
	if !ok {
		t.Fatal("no defaultConfig")
	}
	for _, part := range []struct {
		what   string
		fields map[string]any
		list   []string
	}{{"MeshConfig", config, meshFields}, {"ProxyConfig", proxy, proxyFields}} {
		for field := range part.fields {
			if !slices.Contains(part.list, field) {
				t.Errorf("%s.%s is blocked by the add-on", part.what, field)
			}
		}
	}
	// Istio reads it as written: no field is misspelt.
	text, err := yaml.YAMLToJSON([]byte(object.Data["mesh"]))
	if err != nil {
		t.Fatal(err)
	}
	var read meshapi.MeshConfig
	if err := protojson.Unmarshal(text, &read); err != nil {
		t.Error(err)
	}
	// Zeros must be there: without them Istio takes its own values.
	for _, zero := range []string{"attempts: 0", "mode: REGISTRY_ONLY"} {
		if !strings.Contains(object.Data["mesh"], zero) {
			t.Errorf("%q is not said", zero)
		}
	}
}
