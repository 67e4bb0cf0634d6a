// Package wiring joins the vehicle service's store, routes and limits to the
// service library: Open the store in a setup function, make a handler, then Serve
// it within Limits. The vehicle service does just that, and its known-bad twins
// differ from it in what they leave out. It reads no configuration.
package wiring

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"

	"github.com/nines-ha/nines/fleet/vehicle/store"
	"github.com/nines-ha/nines/service"
)

// Time and room for each kind of request. A caller that states a shorter
// deadline gets that one. Writes hold up to 1 MiB each while they run.
const (
	writeTimeout = 2 * time.Second
	readTimeout  = time.Second
	writesAtOnce = 32
	readsAtOnce  = 64

	migrationTimeout = 10 * time.Minute
)

// Open opens a store with at most so many connections, brings its schema up to
// date in the background, and closes it when the service stops. The service is not
// ready before the schema is.
func Open(ctx context.Context, s *service.Service, name string, connections int32) (*store.Store, error) {
	telemetry, err := store.Open(ctx, s.Store(name).Access, connections)
	if err != nil {
		return nil, err
	}
	s.OnStop("store", func(ctx context.Context) error { return closeStore(ctx, telemetry) })

	var migrated atomic.Bool
	s.Readiness("schema", func(context.Context) error {
		if !migrated.Load() {
			return errors.New("the schema of the store is not up to date yet; the log says what keeps it")
		}
		return nil
	})
	s.Go("migrate", func(ctx context.Context) error {
		if err := migrate(ctx, s, telemetry); err != nil {
			return err
		}
		migrated.Store(true)
		return nil
	})
	return telemetry, nil
}

// Limits are those of writes and of reads.
func Limits() (writing, reading []service.RouteOption) {
	return []service.RouteOption{service.Timeout(writeTimeout), service.Concurrency(writesAtOnce)},
		[]service.RouteOption{service.Timeout(readTimeout), service.Concurrency(readsAtOnce)}
}

// Serve puts up the routes of the API: one handler for what writes, one for what
// reads, each with its own limits.
func Serve(s *service.Service, writes, reads http.Handler, writing, reading []service.RouteOption) {
	s.Handle("POST /v1/vehicles/{vin}/signals", writes, writing...)
	for _, pattern := range []string{"GET /v1/vehicles", "GET /v1/vehicles/{vin}", "GET /v1/vehicles/{vin}/track", "GET /openapi.json"} {
		s.Handle(pattern, reads, reading...)
	}
}

// migrate tries until the store is there: a database that starts later than
// its service, or fails over now, is no reason to give up.
func migrate(ctx context.Context, s *service.Service, telemetry *store.Store) error {
	forever := retrypolicy.NewBuilder[any]().
		WithMaxRetries(-1).WithBackoff(200*time.Millisecond, 5*time.Second).WithJitterFactor(0.2).
		OnRetryScheduled(func(e failsafe.ExecutionScheduledEvent[any]) {
			s.Log().WarnContext(ctx, "schema not up to date yet", "error", e.LastError(), "again_in", e.Delay.String())
		}).Build()
	return failsafe.With(forever).WithContext(ctx).Run(func() error {
		attempt, cancel := context.WithTimeout(ctx, migrationTimeout)
		defer cancel()
		return telemetry.Migrate(attempt)
	})
}

// closeStore waits for connections in use, but not beyond what is left of the
// shutdown.
func closeStore(ctx context.Context, telemetry *store.Store) error {
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
}
