// Command vehicle is the connected-vehicle service: it takes batches of VSS
// signals, keeps them in the PostgreSQL store "telemetry", and answers with a
// vehicle's state, its track, and the vehicles in an area. Start with
// /openapi.json of a running copy. Copies share nothing but the database; the
// first to start brings its schema up to date.
package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"

	"github.com/nines-ha/nines/fleet/vehicle/api"
	"github.com/nines-ha/nines/fleet/vehicle/store"
	"github.com/nines-ha/nines/service"
)

type config struct {
	// Connections of one copy. The server's max_connections, 100 by default, is
	// shared by all copies, those of a rollout included.
	Connections int32   `yaml:"connections" env:"STORE_CONNECTIONS" default:"6" validate:"gte=2,lte=100"`
	Rate        float64 `yaml:"rate" env:"VEHICLE_RATE" default:"10" validate:"gt=0"` // requests a second that one vehicle may post to this copy
	Burst       int     `yaml:"burst" env:"VEHICLE_BURST" default:"20" validate:"gte=1"`
}

// Time and room for each kind of request. A caller that states a shorter
// deadline gets that one. Writes hold up to 1 MiB each while they run.
const (
	writeTimeout = 2 * time.Second
	readTimeout  = time.Second
	writesAtOnce = 32
	readsAtOnce  = 64

	migrationTimeout = 10 * time.Minute
)

func main() { service.Main("vehicle", setup) }

func setup(ctx context.Context, s *service.Service) error {
	var cfg config
	if err := s.Config(&cfg); err != nil {
		return err
	}
	telemetry, err := store.Open(ctx, s.Store("telemetry").Access, cfg.Connections)
	if err != nil {
		return err
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

	counted, err := observe(s.Meter(), telemetry)
	if err != nil {
		return err
	}
	version := os.Getenv("SERVICE_VERSION")
	if version == "" {
		version = "devel"
	}
	handler := api.New(telemetry, version, api.Options{Rate: cfg.Rate, Burst: cfg.Burst, Log: s.Log(), Counted: counted})
	s.Handle("POST /v1/vehicles/{vin}/signals", handler, service.Timeout(writeTimeout), service.Concurrency(writesAtOnce))
	for _, pattern := range []string{"GET /v1/vehicles", "GET /v1/vehicles/{vin}", "GET /v1/vehicles/{vin}/track", "GET /openapi.json"} {
		s.Handle(pattern, handler, service.Timeout(readTimeout), service.Concurrency(readsAtOnce))
	}
	s.Handle("GET /{$}", http.RedirectHandler("/openapi.json", http.StatusFound))
	return nil
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
