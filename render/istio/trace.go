package istio

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	meshapi "istio.io/api/mesh/v1alpha1"
	telemetryapi "istio.io/api/telemetry/v1alpha1"
)

// The OpenTelemetry Collector that traces are exported to, by OTLP over HTTP. It is
// the cluster's, not the system's: a Service of this name must be there.
const (
	CollectorNamespace = "observability"
	Collector          = "opentelemetry-collector"
	CollectorPort      = 4318
)

// CollectorHost is its full name.
const CollectorHost = Collector + "." + CollectorNamespace + ".svc.cluster.local"

const (
	traceBackend  = "nines-traces"
	exportTimeout = 5 * time.Second
)

// traceProvider has proxies export to the collector. They understand W3C's trace
// context and no other, and hand it on: no trace is kept whose parent is not.
func traceProvider() *meshapi.MeshConfig_ExtensionProvider {
	return &meshapi.MeshConfig_ExtensionProvider{
		Name: traceBackend,
		Provider: &meshapi.MeshConfig_ExtensionProvider_Opentelemetry{Opentelemetry: &meshapi.MeshConfig_ExtensionProvider_OpenTelemetryTracingProvider{
			Service: CollectorHost,
			Port:    CollectorPort,
			Http:    &meshapi.MeshConfig_ExtensionProvider_HttpService{Path: "/v1/traces", Timeout: durationpb.New(exportTimeout)},
		}},
	}
}

// tracing has the gateway decide. Its decision goes on with the context and with the
// request's id, and sidecars do as both say.
func (m mesh) tracing() []*telemetryapi.Tracing {
	if !m.system.Traces.On() {
		return nil
	}
	return []*telemetryapi.Tracing{{
		Providers:                []*telemetryapi.ProviderRef{{Name: traceBackend}},
		RandomSamplingPercentage: wrapperspb.Double(m.system.Traces.Sample.Fraction() * 100),
	}}
}

// collectorHosts are what a Sidecar lets a proxy know for its own export and for
// that of the program beside it.
func (m mesh) collectorHosts() []string {
	if !m.system.Traces.On() {
		return nil
	}
	return []string{fmt.Sprintf("%s/%s", CollectorNamespace, CollectorHost)}
}
