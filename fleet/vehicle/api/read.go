package api

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/nines-ha/nines/fleet/vehicle/store"
	"github.com/nines-ha/nines/fleet/vehicle/wire"
	"github.com/nines-ha/nines/fleet/vss"
)

type stateInput struct{ Vehicle }

type stateOutput struct{ Body wire.State }

func (h *handler) state(ctx context.Context, in *stateInput) (*stateOutput, error) {
	state, err := h.store.State(ctx, in.vin)
	if err != nil {
		return nil, h.problem(ctx, err)
	}
	out := wire.State{VIN: string(in.vin), Synthetic: in.vin.Synthetic(), Signals: make(map[string]wire.Value, len(state))}
	for name, value := range state {
		out.Signals[name] = wire.Value{Value: value.Value, Unit: h.signals[name].Unit, Time: value.Time}
	}
	return &stateOutput{out}, nil
}

type trackInput struct {
	Vehicle
	From   string `query:"from" doc:"First time, included (RFC 3339); absent: from the beginning" example:"2016-11-25T00:00:00-06:00"`
	To     string `query:"to" doc:"Last time, not included (RFC 3339); absent: to the end"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"500"`
	Cursor string `query:"cursor" maxLength:"64" doc:"next of the page before; keep the other parameters the same"`

	from, to time.Time
}

func (in *trackInput) Resolve(ctx huma.Context) []error {
	problems := in.Vehicle.Resolve(ctx)
	for _, bound := range []struct {
		name, text string
		into       *time.Time
	}{{"from", in.From, &in.from}, {"to", in.To, &in.to}} {
		if bound.text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, bound.text)
		if err != nil || at.Year() < 1900 || at.Year() > 2200 {
			problems = append(problems, &huma.ErrorDetail{Location: "query." + bound.name,
				Message: "not a time as RFC 3339 writes it, such as 2016-11-25T00:00:00Z (write + as %2B)", Value: clip(bound.text)})
			continue
		}
		*bound.into = at
	}
	if in.Cursor != "" {
		after, err := openTimeCursor(in.Cursor)
		if err != nil {
			problems = append(problems, &huma.ErrorDetail{Location: "query.cursor", Message: err.Error()})
		} else if next := after.Add(1); next.After(in.from) {
			in.from = next
		}
	}
	return problems
}

type trackOutput struct{ Body wire.Track }

func (h *handler) track(ctx context.Context, in *trackInput) (*trackOutput, error) {
	samples, err := h.store.Track(ctx, in.vin, in.from, in.to, in.Limit+1)
	if err != nil {
		return nil, h.problem(ctx, err)
	}
	out := wire.Track{VIN: string(in.vin), Samples: make([]wire.Sample, 0, len(samples))}
	if len(samples) > in.Limit {
		samples = samples[:in.Limit]
		out.Next = timeCursor(samples[in.Limit-1].Time)
	}
	for _, sample := range samples {
		out.Samples = append(out.Samples, wire.Sample{Time: sample.Time, Signals: sample.Values})
	}
	return &trackOutput{out}, nil
}

type areaInput struct {
	Box    string `query:"bbox" required:"true" doc:"minLon,minLat,maxLon,maxLat in degrees, edges included; minLon above maxLon crosses the 180th meridian" example:"-98.1,30.0,-97.4,30.6"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Cursor string `query:"cursor" maxLength:"64" doc:"next of the page before; keep the other parameters the same"`

	box   store.Box
	after vss.VIN
}

func (in *areaInput) Resolve(huma.Context) []error {
	var problems []error
	box, err := parseBox(in.Box)
	if err != nil && in.Box != "" { // its absence is told already
		problems = append(problems, &huma.ErrorDetail{Location: "query.bbox", Message: err.Error(), Value: clip(in.Box)})
	}
	in.box = box
	if in.Cursor != "" {
		vin, err := vss.ParseVIN(in.Cursor)
		if err != nil {
			problems = append(problems, &huma.ErrorDetail{Location: "query.cursor", Message: "not a cursor of this list"})
		}
		in.after = vin
	}
	return problems
}

func parseBox(text string) (store.Box, error) {
	parts := strings.Split(text, ",")
	if len(parts) != 4 {
		return store.Box{}, errors.New("four numbers are needed: minLon,minLat,maxLon,maxLat")
	}
	signals := vss.Lookup()
	var edges [4]float64
	for i, part := range parts {
		value, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
		if err != nil {
			return store.Box{}, errors.New("not a number: " + clip(part))
		}
		name := vss.Longitude
		if i%2 == 1 {
			name = vss.Latitude
		}
		if err := signals[name].Check(value); err != nil {
			return store.Box{}, err
		}
		edges[i] = value
	}
	box := store.Box{West: edges[0], South: edges[1], East: edges[2], North: edges[3]}
	if box.South > box.North {
		return store.Box{}, errors.New("minLat is above maxLat")
	}
	return box, nil
}

type areaOutput struct{ Body wire.Area }

func (h *handler) area(ctx context.Context, in *areaInput) (*areaOutput, error) {
	places, err := h.store.Within(ctx, in.box, in.after, in.Limit+1)
	if err != nil {
		return nil, h.problem(ctx, err)
	}
	out := wire.Area{Vehicles: make([]wire.Place, 0, len(places))}
	if len(places) > in.Limit {
		places = places[:in.Limit]
		out.Next = string(places[in.Limit-1].VIN)
	}
	for _, p := range places {
		out.Vehicles = append(out.Vehicles, wire.Place{VIN: string(p.VIN), Latitude: p.Latitude, Longitude: p.Longitude, Time: p.Time})
	}
	return &areaOutput{out}, nil
}

// timeCursor is opaque so that nobody builds one.
func timeCursor(at time.Time) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, uint64(at.UnixNano())))
}

func openTimeCursor(text string) (time.Time, error) {
	body, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(body) != 8 {
		return time.Time{}, errors.New("not a cursor of this list")
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(body))).UTC(), nil
}
