package service

import (
	"context"
	"io"
	"log/slog"
	"runtime/debug"

	"go.opentelemetry.io/otel/trace"
)

func newLogger(out io.Writer, level slog.Level, id identity) *slog.Logger {
	json := slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level})
	return slog.New(contextHandler{json.WithAttrs(id.attrs())})
}

// contextHandler adds the ids that a record's context carries.
type contextHandler struct{ slog.Handler }

func (h contextHandler) Handle(ctx context.Context, record slog.Record) error {
	if ex := exchangeOf(ctx); ex != nil {
		record.AddAttrs(slog.String("request_id", ex.requestID))
	}
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		record.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	return h.Handler.Handle(ctx, record)
}

func (h contextHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return contextHandler{h.Handler.WithAttrs(attrs)}
}

func (h contextHandler) WithGroup(name string) slog.Handler {
	return contextHandler{h.Handler.WithGroup(name)}
}

func stack() string { return string(debug.Stack()) }
