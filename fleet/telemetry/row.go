package telemetry

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/nines-ha/nines/fleet/vss"
)

const (
	reasonNotNumber = "not a number"
	reasonRange     = "outside the range of the signal"
	reasonPosition  = "not a position on Earth, or zero"
	reasonTime      = "not a time"
	reasonVehicle   = "no usable vehicle id"
)

// A reading fills a row and keeps its refusals.
type reading struct {
	row     Row
	signals map[string]vss.Signal
}

func (r *reading) refuse(subject, reason, detail string) {
	r.row.Refused = append(r.row.Refused, Refusal{subject, reason, detail})
}

// number parses a field; an empty one is absent, which is no fault.
func (r *reading) number(subject, field string) (value float64, ok bool) {
	if field == "" {
		return 0, false
	}
	value, err := strconv.ParseFloat(field, 64)
	if err != nil || math.IsNaN(value) || math.IsInf(value, 0) {
		r.refuse(subject, reasonNotNumber, field)
		return 0, false
	}
	return value, true
}

func (r *reading) set(signal string, value float64) {
	if err := r.signals[signal].Check(value); err != nil {
		r.refuse(signal, reasonRange, err.Error())
		return
	}
	r.row.Values[signal] = value
}

func (r *reading) position(latitude, longitude string) {
	if latitude == "" && longitude == "" {
		return
	}
	lat, latErr := strconv.ParseFloat(latitude, 64)
	lon, lonErr := strconv.ParseFloat(longitude, 64)
	bad := latErr != nil || lonErr != nil || lat == 0 || lon == 0 ||
		r.signals[vss.Latitude].Check(lat) != nil || r.signals[vss.Longitude].Check(lon) != nil
	if bad {
		r.refuse(Position, reasonPosition, fmt.Sprintf("%s, %s", latitude, longitude))
		return
	}
	r.row.Values[vss.Latitude], r.row.Values[vss.Longitude] = lat, lon
}

// start makes an empty row, or one that is refused whole when the vehicle or
// the time cannot be told.
func start(signals map[string]vss.Signal, line int, source, vehicle, layout, at string) (r *reading, ok bool) {
	r = &reading{row: Row{Line: line}, signals: signals}
	vin, err := vss.SyntheticVIN(source, vehicle)
	if err != nil {
		r.refuse(WholeRow, reasonVehicle, strconv.Quote(vehicle))
		return r, false
	}
	r.row.Vehicle = vin
	when, err := time.Parse(layout, at)
	if err != nil || when.Year() < 1980 || when.Year() > 2100 {
		r.refuse(WholeRow, reasonTime, strconv.Quote(at))
		return r, false
	}
	r.row.Time = when.UTC()
	r.row.Values = make(map[string]float64, 8)
	return r, true
}

// decimal takes off the dust that a conversion of units leaves (46.670976,
// not 46.670976000000005).
func decimal(value float64) float64 { return math.Round(value*1e6) / 1e6 }
