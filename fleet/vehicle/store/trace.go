package store

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

const scope = "github.com/nines-ha/nines/fleet/vehicle/store"

// tracer makes a span of what is asked of the server where its caller has one that
// is kept, and costs next to nothing elsewhere. Spans go where the caller's go. They
// hold no statement and no value.
type tracer struct{}

func (tracer) begin(ctx context.Context, conn *pgx.Conn, operation string, more ...attribute.KeyValue) context.Context {
	caller := trace.SpanFromContext(ctx)
	if !caller.IsRecording() {
		return ctx
	}
	config := conn.Config()
	ctx, _ = caller.TracerProvider().Tracer(scope).Start(ctx, operation, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(append(more,
		attribute.String("db.system.name", "postgresql"), attribute.String("db.namespace", config.Database), attribute.String("db.operation.name", operation),
		attribute.String("server.address", config.Host), attribute.Int("server.port", int(config.Port)),
	)...))
	return context.WithValue(ctx, tracer{}, true)
}

// end leaves the caller's span alone where there is none of ours.
func (tracer) end(ctx context.Context, err error) {
	if ctx.Value(tracer{}) == nil {
		return
	}
	span := trace.SpanFromContext(ctx)
	if err != nil {
		span.SetStatus(codes.Error, "") // a text may hold values
	}
	span.End()
}

func (t tracer) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	operation, _, _ := strings.Cut(strings.TrimSpace(data.SQL), " ")
	return t.begin(ctx, conn, strings.ToUpper(operation))
}

func (t tracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	t.end(ctx, data.Err)
}

func (t tracer) TraceBatchStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	return t.begin(ctx, conn, "BATCH", attribute.Int("db.operation.batch.size", data.Batch.Len()))
}

func (tracer) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

func (t tracer) TraceBatchEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchEndData) {
	t.end(ctx, data.Err)
}
