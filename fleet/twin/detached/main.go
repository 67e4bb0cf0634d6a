// Command detached is a known-bad twin of the vehicle service: what it does for a
// request is in a trace of its own, as where work is begun with a context of its own
// in place of the request's. It answers as the service does; only who looks at a
// trace finds that it ends at the door. It is for drills and not for use.
package main

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/trace"

	"github.com/nines-ha/nines/fleet/twin"
	"github.com/nines-ha/nines/fleet/vehicle/wiring"
	"github.com/nines-ha/nines/service"
)

func main() { service.Main("vehicle", setup) }

func setup(ctx context.Context, s *service.Service) error {
	handler, err := twin.Open(ctx, s)
	if err != nil {
		return err
	}
	handler = detach(s.Tracer(), handler)
	writing, reading := wiring.Limits()
	wiring.Serve(s, handler, handler, writing, reading)
	return nil
}

// detach keeps the deadline of a request and all else that goes with it: the trace
// alone is another one.
func detach(tracer trace.Tracer, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, span := tracer.Start(r.Context(), "work", trace.WithNewRoot())
		defer span.End()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
