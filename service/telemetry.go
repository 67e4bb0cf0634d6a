package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

const scope = "github.com/nines-ha/nines/service"

// telemetry is the process's own: nothing global is set.
type telemetry struct {
	metrics    *sdkmetric.MeterProvider
	traces     trace.TracerProvider
	propagator propagation.TextMapPropagator
	meter      metric.Meter
	tracer     trace.Tracer
	shed       metric.Int64Counter
	panics     metric.Int64Counter
	exposition http.Handler
	flush      []func(context.Context) error
}

func newTelemetry(ctx context.Context, id identity) (*telemetry, error) {
	t := &telemetry{propagator: propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})}
	described, err := id.resource(ctx)
	if err != nil {
		return nil, fmt.Errorf("start telemetry: %w; look at OTEL_RESOURCE_ATTRIBUTES", err)
	}
	if err := t.startMetrics(described); err != nil {
		return nil, fmt.Errorf("start metrics: %w", err)
	}
	t.traces = noop.NewTracerProvider()
	// The SDK reads these and their many companions from the process itself.
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "" {
		exporter, err := otlptracehttp.New(ctx)
		if err != nil {
			return nil, fmt.Errorf("start trace export: %w; look at OTEL_EXPORTER_OTLP_ENDPOINT", err)
		}
		provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(described))
		t.traces = provider
		t.flush = append(t.flush, provider.Shutdown)
	}
	t.tracer = t.traces.Tracer(scope)
	return t, nil
}

func (t *telemetry) startMetrics(described *resource.Resource) error {
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := registry.Register(c); err != nil {
			return err
		}
	}
	exporter, err := promexporter.New(promexporter.WithRegisterer(registry), promexporter.WithoutScopeInfo())
	if err != nil {
		return err
	}
	t.metrics = sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter), sdkmetric.WithResource(described), sdkmetric.WithView(views()...))
	t.flush = append(t.flush, t.metrics.Shutdown)
	t.meter = t.metrics.Meter(scope)
	t.exposition = promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, EnableOpenMetrics: true})
	if t.shed, err = t.meter.Int64Counter("service.requests.shed", metric.WithUnit("{request}"), metric.WithDescription("Requests answered 429 because the route was full.")); err != nil {
		return err
	}
	t.panics, err = t.meter.Int64Counter("service.panics", metric.WithUnit("{panic}"), metric.WithDescription("Panics of handlers."))
	return err
}

// views keep the server's series few: the Host header, which any caller can
// make up, is no label, and the buckets are close where targets are.
func views() []sdkmetric.View {
	labels := attribute.NewAllowKeysFilter("http.request.method", "http.response.status_code", "http.route", "network.protocol.version", "error.type")
	seconds := sdkmetric.AggregationExplicitBucketHistogram{
		Boundaries: []float64{.001, .0025, .005, .01, .015, .025, .05, .1, .2, .3, .5, .75, 1, 2.5, 5, 10},
	}
	return []sdkmetric.View{
		sdkmetric.NewView(sdkmetric.Instrument{Name: "http.server.request.duration"}, sdkmetric.Stream{AttributeFilter: labels, Aggregation: seconds}),
		sdkmetric.NewView(sdkmetric.Instrument{Name: "http.server.request.body.size"}, sdkmetric.Stream{Aggregation: sdkmetric.AggregationDrop{}}),
		sdkmetric.NewView(sdkmetric.Instrument{Name: "http.server.response.body.size"}, sdkmetric.Stream{Aggregation: sdkmetric.AggregationDrop{}}),
		sdkmetric.NewView(sdkmetric.Instrument{Name: "http.client.request.body.size"}, sdkmetric.Stream{Aggregation: sdkmetric.AggregationDrop{}}),
	}
}

func (t *telemetry) observe(inFlight, draining func() int64) error {
	active, err := t.meter.Int64ObservableUpDownCounter("http.server.active_requests", metric.WithUnit("{request}"), metric.WithDescription("Requests being answered."))
	if err != nil {
		return err
	}
	drain, err := t.meter.Int64ObservableGauge("service.draining", metric.WithDescription("1 once the service was told to stop."))
	if err != nil {
		return err
	}
	_, err = t.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(active, inFlight())
		o.ObserveInt64(drain, draining())
		return nil
	}, active, drain)
	return err
}

func (t *telemetry) stop(ctx context.Context) error {
	var errs []error
	for _, flush := range t.flush {
		errs = append(errs, flush(ctx))
	}
	return errors.Join(errs...)
}

func (id identity) resource(ctx context.Context) (*resource.Resource, error) {
	attrs := []attribute.KeyValue{attribute.String("service.name", id.Service), attribute.String("service.version", id.Version)}
	for _, a := range []attribute.KeyValue{
		attribute.String("service.instance.id", id.Pod), attribute.String("k8s.pod.name", id.Pod),
		attribute.String("k8s.namespace.name", id.Namespace), attribute.String("k8s.node.name", id.Node),
		attribute.String("cloud.availability_zone", id.Zone), attribute.String("cloud.region", id.Region),
	} {
		if a.Value.AsString() != "" {
			attrs = append(attrs, a)
		}
	}
	return resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(attrs...), resource.WithFromEnv())
}
