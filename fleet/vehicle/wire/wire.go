// Package wire is what the vehicle service and its clients say to each other:
// the bodies of the HTTP API as Go types. It has no behaviour. The service
// publishes the same as OpenAPI at /openapi.json.
package wire

import "time"

// Limits that the service refuses to exceed.
const (
	MaxBody    = 1 << 20 // bytes of a request
	MaxSamples = 1000    // in one request
	MaxSignals = 64      // in one sample
	MaxPage    = 1000    // samples or vehicles in one answer
)

// Batch is the body of POST /v1/vehicles/{vin}/signals.
type Batch struct {
	Samples []Sample `json:"samples" nullable:"false" minItems:"1" maxItems:"1000"`
}

// A Sample is what a vehicle measured at one time.
type Sample struct {
	Time    time.Time          `json:"time" doc:"When it was measured; kept to the nanosecond, answered in UTC"`
	Signals map[string]float64 `json:"signals" minProperties:"1" maxProperties:"64" doc:"Values by VSS name, in VSS units"`
}

// A Receipt answers a Batch. When it is sent everything in it is on disk.
// Accepted and the refused samples add up to Samples.
type Receipt struct {
	VIN        string    `json:"vin"`
	Samples    int       `json:"samples" doc:"Samples in the request"`
	Accepted   int       `json:"accepted" doc:"Samples of which at least one value is held now as it was sent, new or from before"`
	Duplicates int       `json:"duplicates" doc:"Accepted samples that brought nothing new"`
	Refused    []Refusal `json:"refused" nullable:"false" doc:"What was not taken, value by value; the rest was"`
}

// A Refusal says why one value, or one whole sample, was not taken.
type Refusal struct {
	Sample int    `json:"sample" doc:"Place of the sample in the request, from 0"`
	Signal string `json:"signal,omitempty" doc:"VSS name as it was sent; absent when the whole sample was refused"`
	Code   Code   `json:"code" enum:"unknown_signal,not_a_number,out_of_range,half_position,conflict,bad_time,no_signals,too_many_signals"`
	Detail string `json:"detail"`
}

// A Code is the reason of a refusal, for programs.
type Code string

const (
	UnknownSignal  Code = "unknown_signal"   // not a name that the service knows
	NotANumber     Code = "not_a_number"     //
	OutOfRange     Code = "out_of_range"     // impossible for the signal
	HalfPosition   Code = "half_position"    // the other half is missing or was refused
	Conflict       Code = "conflict"         // another value is held for this vehicle, time and signal; the first stays
	BadTime        Code = "bad_time"         // the sample: not RFC 3339, before 1980 or in the future
	NoSignals      Code = "no_signals"       // the sample: empty
	TooManySignals Code = "too_many_signals" // the sample: over MaxSignals
)

// A Value is the newest value of a signal.
type Value struct {
	Value float64   `json:"value"`
	Unit  string    `json:"unit,omitempty" doc:"VSS unit; absent for a signal without one"`
	Time  time.Time `json:"time"`
}

// State answers GET /v1/vehicles/{vin}.
type State struct {
	VIN       string           `json:"vin"`
	Synthetic bool             `json:"synthetic" doc:"The VIN was made up and belongs to no vehicle"`
	Signals   map[string]Value `json:"signals" doc:"By VSS name, each with its own time"`
}

// Track answers GET /v1/vehicles/{vin}/track: a page, in order of time.
type Track struct {
	VIN     string   `json:"vin"`
	Samples []Sample `json:"samples" nullable:"false"`
	Next    string   `json:"next,omitempty" doc:"The cursor of the next page; absent on the last"`
}

// Area answers GET /v1/vehicles?bbox=...: a page, in order of VIN.
type Area struct {
	Vehicles []Place `json:"vehicles" nullable:"false"`
	Next     string  `json:"next,omitempty" doc:"The cursor of the next page; absent on the last"`
}

// A Place is where a vehicle was last.
type Place struct {
	VIN       string    `json:"vin"`
	Latitude  float64   `json:"latitude"`
	Longitude float64   `json:"longitude"`
	Time      time.Time `json:"time"`
}
