// Package twin holds what the known-bad services below it share with the vehicle
// service that they are twins of: its store, opened and migrated by Open, and its
// routes, put up by Serve. Each twin is that service with one mistake, for a
// drill to find; none is for use. The package itself has no mistake in it.
package twin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"

	"github.com/nines-ha/nines/fleet/vehicle/api"
	"github.com/nines-ha/nines/fleet/vehicle/store"
	"github.com/nines-ha/nines/service"
)

// Limits as the vehicle service has them.
const (
	writeTimeout = 2 * time.Second
	readTimeout  = time.Second
	writesAtOnce = 32
	readsAtOnce  = 64

	connections      = 6
	migrationTimeout = 10 * time.Minute
	perVehicle       = 10 // requests a second
	burst            = 20
)

// Open opens the store "telemetry", brings its schema up to date in the
// background, and closes it when the service stops. The service is not ready
// before the schema is. It returns the API over the store.
func Open(ctx context.Context, s *service.Service) (http.Handler, error) {
	telemetry, err := store.Open(ctx, s.Store("telemetry").Access, connections)
	if err != nil {
		return nil, err
	}
	s.OnStop("store", func(ctx context.Context) error {
		closed := make(chan struct{})
		go func() {
			telemetry.Close()
			close(closed)
		}()
		select {
		case <-closed:
			return nil
		case <-ctx.Done():
			return errors.New("connections to the store are still in use")
		}
	})
	var migrated atomic.Bool
	s.Readiness("schema", func(context.Context) error {
		if !migrated.Load() {
			return errors.New("the schema of the store is not up to date yet")
		}
		return nil
	})
	s.Go("migrate", func(ctx context.Context) error {
		forever := retrypolicy.NewBuilder[any]().WithMaxRetries(-1).WithBackoff(200*time.Millisecond, 5*time.Second).Build()
		err := failsafe.With(forever).WithContext(ctx).Run(func() error {
			attempt, cancel := context.WithTimeout(ctx, migrationTimeout)
			defer cancel()
			return telemetry.Migrate(attempt)
		})
		if err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		migrated.Store(true)
		return nil
	})
	return api.New(telemetry, "twin", api.Options{Rate: perVehicle, Burst: burst, Log: s.Log()}), nil
}

// Serve puts up the routes of the vehicle service: one handler for what writes,
// one for what reads, each with its own limits.
func Serve(s *service.Service, writes, reads http.Handler, writing, reading []service.RouteOption) {
	s.Handle("POST /v1/vehicles/{vin}/signals", writes, writing...)
	for _, pattern := range []string{"GET /v1/vehicles", "GET /v1/vehicles/{vin}", "GET /v1/vehicles/{vin}/track", "GET /openapi.json"} {
		s.Handle(pattern, reads, reading...)
	}
}

// Limits are those of the vehicle service, for writes and for reads.
func Limits() (writing, reading []service.RouteOption) {
	return []service.RouteOption{service.Timeout(writeTimeout), service.Concurrency(writesAtOnce)},
		[]service.RouteOption{service.Timeout(readTimeout), service.Concurrency(readsAtOnce)}
}
