package istio

import (
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	meshapi "istio.io/api/mesh/v1alpha1"
	telemetryapi "istio.io/api/telemetry/v1alpha1"
	telemetry "istio.io/client-go/pkg/apis/telemetry/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/nines-ha/nines/render"
)

const (
	platformFolder = "platform/istio/"

	// A gateway is not drained by a drain of ours: it must go on for as long
	// as the load balancer takes to notice (two probes, 5 s apart), and then
	// end what it has begun, within the 30 s that its pod is given.
	gatewayDrain = 25 * time.Second
	drain        = 45 * time.Second // how long listeners stay open, at most
)

// platform is what holds for the whole mesh.
func (m mesh) platform(files *render.Set) error {
	if err := m.shared(files); err != nil {
		return err
	}
	files.Add(platformFolder+"peerauthentication.yaml", m.strict(SystemNamespace, "default"))
	files.Add(platformFolder+"telemetry.yaml", m.telemetry())
	return nil
}

// shared is the user's part of the mesh's configuration.
func (m mesh) shared(files *render.Set) error {
	config, err := m.meshConfig()
	if err != nil {
		return err
	}
	files.Add(platformFolder+"shared-configmap.yaml", &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: m.common(SystemNamespace, SharedConfigMap),
		Data:       map[string]string{"mesh": config},
	})
	return nil
}

// meshConfig is the text of the user's part of the mesh's configuration. The
// add-on merges its own over it, and admits only the fields that it lists.
func (m mesh) meshConfig() (string, error) {
	labels := map[string]*structpb.Value{}
	for name, format := range logLabels {
		labels[name] = structpb.NewStringValue(format)
	}
	mesh := &meshapi.MeshConfig{
		PathNormalization: &meshapi.MeshConfig_ProxyPathNormalization{Normalization: meshapi.MeshConfig_ProxyPathNormalization_MERGE_SLASHES},
		DefaultConfig: &meshapi.ProxyConfig{
			HoldApplicationUntilProxyStarts: wrapperspb.Bool(true),
			DrainDuration:                   durationpb.New(drain),
			TerminationDrainDuration:        durationpb.New(gatewayDrain),
			// Keys of an elliptic curve: a handshake costs a fraction of what RSA's does.
			ProxyMetadata:     map[string]string{"ECC_SIGNATURE_ALGORITHM": "ECDSA"},
			ProxyStatsMatcher: &meshapi.ProxyConfig_ProxyStatsMatcher{InclusionRegexps: m.statistics()},
		},
		ExtensionProviders: []*meshapi.MeshConfig_ExtensionProvider{{
			Name: logProvider,
			Provider: &meshapi.MeshConfig_ExtensionProvider_EnvoyFileAccessLog{EnvoyFileAccessLog: &meshapi.MeshConfig_ExtensionProvider_EnvoyFileAccessLogProvider{
				Path: "/dev/stdout",
				LogFormat: &meshapi.MeshConfig_ExtensionProvider_EnvoyFileAccessLogProvider_LogFormat{
					LogFormat: &meshapi.MeshConfig_ExtensionProvider_EnvoyFileAccessLogProvider_LogFormat_Labels{Labels: &structpb.Struct{Fields: labels}},
				},
			}},
		}},
	}
	if m.system.Traces.On() {
		mesh.ExtensionProviders = append(mesh.ExtensionProviders, traceProvider())
	}
	body, err := protojson.Marshal(mesh)
	if err != nil {
		return "", fmt.Errorf("encode the mesh's configuration: %w", err)
	}
	var tree map[string]any
	if err := json.Unmarshal(body, &tree); err != nil {
		return "", fmt.Errorf("encode the mesh's configuration: %w", err)
	}
	// Zeros, which the encoder leaves out, and Istio then takes its own value:
	// two retries, and everything let out.
	tree["defaultHttpRetryPolicy"] = map[string]any{"attempts": 0}
	tree["outboundTrafficPolicy"] = map[string]any{"mode": registryOnly}
	text, err := yaml.Marshal(tree)
	return string(text), err
}

// telemetry is one object: a namespace has no second one that is for all of it.
func (m mesh) telemetry() *telemetry.Telemetry {
	return &telemetry.Telemetry{
		TypeMeta:   typed("telemetry", "Telemetry"),
		ObjectMeta: m.common(SystemNamespace, "mesh-default"),
		Spec: telemetryapi.Telemetry{
			AccessLogging: []*telemetryapi.AccessLogging{{
				Providers: []*telemetryapi.ProviderRef{{Name: logProvider}},
				Filter:    &telemetryapi.AccessLogging_Filter{Expression: logFilter},
			}},
			Tracing: m.tracing(),
		},
	}
}
