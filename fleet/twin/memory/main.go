// Command memory is a known-bad twin of the vehicle service: it answers a write
// with a receipt as soon as the sample is in its memory, and stores it some
// seconds later, as a service does that was made fast by writing behind. A replica
// that ends takes with it what it has promised. It is for drills and not for use.
package main

import (
	"context"
	"time"

	"github.com/nines-ha/nines/fleet/twin"
	"github.com/nines-ha/nines/fleet/vehicle/wiring"
	"github.com/nines-ha/nines/service"
)

// behind is how much later a sample is stored than it was acknowledged.
const behind = 3 * time.Second

func main() { service.Main("vehicle", writing(behind)) }

func writing(behind time.Duration) func(context.Context, *service.Service) error {
	return func(ctx context.Context, s *service.Service) error {
		handler, err := twin.Open(ctx, s)
		if err != nil {
			return err
		}
		b, err := newBuffer(handler, behind, s.Log())
		if err != nil {
			return err
		}
		for range writers {
			s.Go("write behind", b.write)
		}
		writes, reads := wiring.Limits()
		wiring.Serve(s, b, handler, writes, reads)
		return nil
	}
}
