package telemetry

import (
	"strings"
	"time"

	"github.com/nines-ha/nines/fleet/vss"
)

var austinColumns = strings.Split("vehicle_id,timestamp,speed,route_id,trip_id,latitude,longitude,trip_headsign", ",")

// fastestBus is above what a city bus drives (126 km/h); a report over it is a
// spike of the receiver. The position beside it is sound.
const fastestBus = 35.0 // m/s

const reasonBusSpeed = "faster than a bus: over 126 km/h"

// openAustin reads the positions of Capital Metro's buses: speed in metres per
// second, times with an offset, no VIN.
func openAustin(l *lines) *Source {
	signals := vss.Lookup()
	return &Source{
		Name: "fleet-austin-2016",
		Notes: []string{
			"Vehicle positions: Capital Metro, captured by Sean Cascketta (github.com/scascketta/CapMetrics), MIT",
			"VINs are synthetic (" + vss.SyntheticWMI + "...): the data set has fleet numbers only",
		},
		next: func() (Row, error) {
			fields, fault, err := l.record(len(austinColumns))
			if err != nil {
				return Row{}, err
			}
			if fault != nil {
				return Row{Line: l.number, Refused: []Refusal{*fault}}, nil
			}
			r, ok := start(signals, l.number, "AUS16", fields[0], time.RFC3339, fields[1])
			if !ok {
				return r.row, nil
			}
			if speed, ok := r.number(vss.Speed, fields[2]); ok {
				switch {
				case speed < 0:
					r.refuse(vss.Speed, reasonRange, fields[2]+" m/s")
				case speed > fastestBus:
					r.refuse(vss.Speed, reasonBusSpeed, fields[2]+" m/s")
				default:
					r.set(vss.Speed, decimal(speed*3.6))
				}
			}
			r.position(fields[5], fields[6])
			return r.row, nil
		},
	}
}
