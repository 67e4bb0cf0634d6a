// Package api is the HTTP face of the vehicle service: New returns the handler,
// with its OpenAPI 3.1 document at /openapi.json, made from the same types.
// Errors are RFC 9457 problems. It decides what a signal may be (by fleet/vss)
// and how often a vehicle may speak; keeping is the store's work, deadlines and
// shedding the service library's. It authenticates nobody: that is the edge's.
package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/nines-ha/nines/fleet/vehicle/store"
	"github.com/nines-ha/nines/fleet/vss"
)

// Options of the handler.
type Options struct {
	Rate  float64 // requests a second that one vehicle may post to this copy; 0: no limit
	Burst int     // that it may post at once
	Log   *slog.Logger
	// Counted is told after each write what became of its values.
	Counted func(ctx context.Context, stored, held, refused int)
}

type handler struct {
	store   *store.Store
	signals map[string]vss.Signal
	limits  *limits
	log     *slog.Logger
	counted func(ctx context.Context, stored, held, refused int)
}

// New returns the API over a store.
func New(s *store.Store, version string, options Options) http.Handler {
	h := &handler{store: s, signals: vss.Lookup(), limits: newLimits(options.Rate, options.Burst), log: options.Log, counted: options.Counted}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.counted == nil {
		h.counted = func(context.Context, int, int, int) {}
	}
	mux := http.NewServeMux()
	config := huma.DefaultConfig("Connected vehicles", version)
	config.Info.Description = "Telemetry of vehicles in the names and units of the COVESA Vehicle Signal Specification (VSS)."
	// No page that loads scripts from elsewhere, no $schema in every answer.
	config.DocsPath, config.SchemasPath, config.CreateHooks = "", "", nil
	config.RejectUnknownQueryParameters = true
	h.register(humago.New(mux, config))
	return mux
}

func (h *handler) register(api huma.API) {
	huma.Register(api, h.ingestOperation(api), h.ingest)
	describeBatch(api)
	huma.Register(api, huma.Operation{
		OperationID: "vehicle-state", Method: http.MethodGet, Path: "/v1/vehicles/{vin}",
		Summary: "The newest value of every signal of a vehicle",
		Errors:  []int{http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout},
	}, h.state)
	huma.Register(api, huma.Operation{
		OperationID: "vehicle-track", Method: http.MethodGet, Path: "/v1/vehicles/{vin}/track",
		Summary: "What a vehicle reported in a range of time, in order, page by page",
		Errors:  []int{http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout},
	}, h.track)
	huma.Register(api, huma.Operation{
		OperationID: "vehicles-in-area", Method: http.MethodGet, Path: "/v1/vehicles",
		Summary: "Vehicles whose last position is inside a bounding box, page by page",
		Errors:  []int{http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout},
	}, h.area)
}

// Vehicle is the path parameter of three operations.
type Vehicle struct {
	Text string  `path:"vin" doc:"Vehicle identification number (ISO 3779), in capitals" example:"WVWZZZ1JZXW000001"`
	vin  vss.VIN // set by Resolve
}

func (v *Vehicle) Resolve(huma.Context) []error {
	vin, err := vss.ParseVIN(v.Text)
	if err != nil {
		return []error{&huma.ErrorDetail{Location: "path.vin", Message: err.Error(), Value: v.Text}}
	}
	v.vin = vin
	return nil
}

// retryAfter is what a client waits when the database cannot be reached: about
// what a failover's first sign takes, not its end.
const retryAfter = "1"

// problem turns an error of the store into an answer.
func (h *handler) problem(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, store.ErrUnknownVehicle):
		return huma.Error404NotFound("this vehicle has never reported")
	case store.Late(err):
		h.log.WarnContext(ctx, "out of time", "error", err)
		return huma.Error504GatewayTimeout("the request ran out of time; a write may or may not have been stored, and sending it again is safe")
	case errors.Is(err, context.Canceled):
		return huma.Error503ServiceUnavailable("the request was given up")
	case store.Unavailable(err):
		h.log.ErrorContext(ctx, "store unavailable", "error", err)
		return huma.ErrorWithHeaders(huma.Error503ServiceUnavailable("the store cannot be reached; sending the request again is safe"),
			http.Header{"Retry-After": {retryAfter}})
	}
	h.log.ErrorContext(ctx, "store failed", "error", err)
	return huma.Error500InternalServerError("the store failed; the log says why")
}

// oldest and soonest bound the time of a sample. A time in the future would
// stay the newest until it comes, so only a clock's error is forgiven.
const clockError = 5 * time.Minute

func oldest() time.Time { return time.Date(1980, 1, 6, 0, 0, 0, 0, time.UTC) } // GPS began

func soonest() time.Time { return time.Now().Add(clockError) }
