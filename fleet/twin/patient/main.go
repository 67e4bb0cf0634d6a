// Command patient is a known-bad twin of the vehicle service: it gives a request
// all the time there is and takes as many at once as there are, as a service does
// in which nobody has thought of deadlines. While its database stands still, so
// do its callers. It is for drills and not for use.
package main

import (
	"context"
	"net/http"

	"github.com/nines-ha/nines/fleet/twin"
	"github.com/nines-ha/nines/fleet/vehicle/wiring"
	"github.com/nines-ha/nines/service"
)

const atOnce = 1 << 20

func main() { service.Main("vehicle", setup) }

func setup(ctx context.Context, s *service.Service) error {
	handler, err := twin.Open(ctx, s)
	if err != nil {
		return err
	}
	serve(s, handler)
	return nil
}

func serve(s *service.Service, handler http.Handler) {
	without := []service.RouteOption{service.Timeout(0), service.Concurrency(atOnce)}
	wiring.Serve(s, handler, handler, without, without)
}
