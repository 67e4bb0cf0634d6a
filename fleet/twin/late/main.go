// Command late is a known-bad twin of the vehicle service: it runs for a while
// before it can serve, as a service does that fills a cache or warms up a
// runtime. That alone is no mistake, since its probes say so; it becomes one
// where nobody asks them. It is for drills and not for use.
package main

import (
	"context"
	"time"

	"github.com/nines-ha/nines/fleet/twin"
	"github.com/nines-ha/nines/fleet/vehicle/wiring"
	"github.com/nines-ha/nines/service"
)

// warmUp is longer than a replica that leaves goes on serving, so that nobody
// covers for one that only says it is ready.
const warmUp = 25 * time.Second

func main() { service.Main("vehicle", after(warmUp)) }

// after makes a setup that takes so long. The service listens when it is done.
func after(wait time.Duration) func(context.Context, *service.Service) error {
	return func(ctx context.Context, s *service.Service) error {
		handler, err := twin.Open(ctx, s)
		if err != nil {
			return err
		}
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		writing, reading := wiring.Limits()
		wiring.Serve(s, handler, handler, writing, reading)
		return nil
	}
}
