// Command failing is a known-bad twin of the vehicle service: it answers one request
// in twenty with 500, and all its probes well, as a release does with a mistake that
// some requests meet. It is for drills and not for use.
package main

import (
	"context"
	"net/http"
	"sync/atomic"

	"github.com/nines-ha/nines/fleet/twin"
	"github.com/nines-ha/nines/fleet/vehicle/wiring"
	"github.com/nines-ha/nines/service"
)

// every is which request fails.
const every = 20

func main() { service.Main("vehicle", setup) }

func setup(ctx context.Context, s *service.Service) error {
	handler, err := twin.Open(ctx, s)
	if err != nil {
		return err
	}
	bad := failing(handler)
	writing, reading := wiring.Limits()
	wiring.Serve(s, bad, bad, writing, reading)
	return nil
}

func failing(next http.Handler) http.Handler {
	var seen atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if seen.Add(1)%every == 0 {
			http.Error(w, "out of luck", http.StatusInternalServerError)
			return
		}
		next.ServeHTTP(w, r)
	})
}
