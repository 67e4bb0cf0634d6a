// Package twin holds what the known-bad services below it share: Open gives the API
// of the vehicle service over its store, wired as there. Each twin is that service
// with one mistake, for a drill to find; none is for use. The package itself has
// no mistake in it.
package twin

import (
	"context"
	"net/http"

	"github.com/nines-ha/nines/fleet/vehicle/api"
	"github.com/nines-ha/nines/fleet/vehicle/wiring"
	"github.com/nines-ha/nines/service"
)

// What the vehicle service has where nothing is configured.
const (
	connections = 6
	perVehicle  = 10 // requests a second
	burst       = 20
)

// Open opens the store as the vehicle service does and returns the API over it.
func Open(ctx context.Context, s *service.Service) (http.Handler, error) {
	telemetry, err := wiring.Open(ctx, s, "telemetry", connections)
	if err != nil {
		return nil, err
	}
	return api.New(telemetry, "twin", api.Options{Rate: perVehicle, Burst: burst, Log: s.Log()}), nil
}
