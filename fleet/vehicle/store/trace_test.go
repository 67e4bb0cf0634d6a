package store

import (
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/nines-ha/nines/fleet/vss"
)

// What a traced request asks of the server is within its span, and none of it is
// left open; who is not traced leaves nothing, and neither does a secret.
func TestStatementsAreSpans(t *testing.T) {
	s, v := fresh(t), vin(t, 1)
	kept := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept))
	defer provider.Shutdown(t.Context())

	ctx, request := provider.Tracer("test").Start(t.Context(), "request")
	if _, err := s.Ingest(ctx, v, []Sample{sample(0, map[string]float64{vss.Speed: 1})}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.State(ctx, v); err != nil {
		t.Fatal(err)
	}
	if err := s.query(ctx, func(pgx.Rows) error { return nil }, "SELECT 1 / 0"); err == nil {
		t.Fatal("divided by zero")
	}
	if !request.IsRecording() {
		t.Error("the caller's span was ended")
	}
	request.End()
	var names []string
	failed := 0
	for _, span := range kept.GetSpans() {
		if span.Name == "request" {
			continue
		}
		names = append(names, span.Name)
		if span.Parent.SpanID() != request.SpanContext().SpanID() || span.SpanKind != trace.SpanKindClient || span.EndTime.IsZero() {
			t.Errorf("%s is within %s, of kind %s", span.Name, span.Parent.SpanID(), span.SpanKind)
		}
		if span.Status.Code == codes.Error {
			failed++
		}
		for _, a := range span.Attributes {
			if a.Value.AsString() == string(v) {
				t.Errorf("%s tells %s", span.Name, a.Key)
			}
		}
	}
	for _, name := range []string{"BEGIN", "BATCH", "INSERT", "COMMIT"} {
		if !slices.Contains(names, name) {
			t.Errorf("no span %s among %v", name, names)
		}
	}
	if failed == 0 {
		t.Errorf("the statement that failed is not told among %v", names)
	}

	kept.Reset()
	other := sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept), sdktrace.WithSampler(sdktrace.NeverSample()))
	defer other.Shutdown(t.Context())
	ctx, request = other.Tracer("test").Start(t.Context(), "request")
	if _, err := s.Ingest(ctx, v, []Sample{sample(1, map[string]float64{vss.Speed: 1})}); err != nil {
		t.Fatal(err)
	}
	request.End()
	if spans := kept.GetSpans(); len(spans) != 0 {
		t.Errorf("%d spans of a request that is not traced", len(spans))
	}
}
