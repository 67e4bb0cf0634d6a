// Command vehicle is the connected-vehicle service: it takes batches of VSS
// signals, keeps them in a PostgreSQL store, "telemetry" by default, and answers with a
// vehicle's state, its track, and the vehicles in an area. Start with
// /openapi.json of a running copy. Copies share nothing but the database; the
// first to start brings its schema up to date.
package main

import (
	"context"
	"net/http"
	"os"

	"github.com/nines-ha/nines/fleet/vehicle/api"
	"github.com/nines-ha/nines/fleet/vehicle/wiring"
	"github.com/nines-ha/nines/service"
)

type config struct {
	Store string `yaml:"store" env:"STORE" default:"telemetry"`
	// Connections of one copy. The server's max_connections, 100 by default, is
	// shared by all copies, those of a rollout included.
	Connections int32   `yaml:"connections" env:"STORE_CONNECTIONS" default:"6" validate:"gte=2,lte=100"`
	Rate        float64 `yaml:"rate" env:"VEHICLE_RATE" default:"10" validate:"gt=0"` // requests a second that one vehicle may post to this copy
	Burst       int     `yaml:"burst" env:"VEHICLE_BURST" default:"20" validate:"gte=1"`
}

func main() { service.Main("vehicle", setup) }

func setup(ctx context.Context, s *service.Service) error {
	var cfg config
	if err := s.Config(&cfg); err != nil {
		return err
	}
	telemetry, err := wiring.Open(ctx, s, cfg.Store, cfg.Connections)
	if err != nil {
		return err
	}
	counted, err := observe(s.Meter(), telemetry)
	if err != nil {
		return err
	}
	version := os.Getenv("SERVICE_VERSION")
	if version == "" {
		version = "devel"
	}
	handler := api.New(telemetry, version, api.Options{Rate: cfg.Rate, Burst: cfg.Burst, Log: s.Log(), Counted: counted})
	writing, reading := wiring.Limits()
	wiring.Serve(s, handler, handler, writing, reading)
	s.Handle("GET /{$}", http.RedirectHandler("/openapi.json", http.StatusFound))
	return nil
}
