package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// What runs for a request is in another trace, and has its deadline all the same.
func TestAnotherTraceAndTheSameDeadline(t *testing.T) {
	provider := sdktrace.NewTracerProvider()
	defer provider.Shutdown(t.Context())
	tracer := provider.Tracer("test")
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	ctx, request := tracer.Start(ctx, "request")
	defer request.End()
	var inside context.Context
	handler := detach(tracer, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { inside = r.Context() }))
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
	own := trace.SpanContextFromContext(inside)
	if !own.IsValid() || own.TraceID() == request.SpanContext().TraceID() {
		t.Errorf("it is in trace %s, the request in %s", own.TraceID(), request.SpanContext().TraceID())
	}
	want, _ := ctx.Deadline()
	if got, ok := inside.Deadline(); !ok || got != want {
		t.Errorf("its deadline is %s, the request's %s", got, want)
	}
}
