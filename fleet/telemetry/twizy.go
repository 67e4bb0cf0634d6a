package telemetry

import (
	"math"
	"strings"
	"time"

	"github.com/nines-ha/nines/fleet/vss"
)

var twizyColumns = strings.Split("trip,timestamp,Soc,Speed,Mode,LAT,LON,ALT,GpsSpeed,Temperature,Humidity,Weather,WindSpeedAv,Traffic,SpeedLimit", ",")

const (
	reasonAltitude = "below sea level, where this car never was"
	reasonCharge   = "jumped by more than 5 points within a minute"
	reasonGear     = "not N, D or R"
)

// A traction battery neither gains nor loses this share of its charge in a
// minute; a step beyond it is a glitch of the bus. After the minute the next
// value counts whatever it is, so that one bad value cannot shut out the rest.
const (
	chargeStep   = 5.0
	chargeWindow = time.Minute
)

// openTwizy reads one electric car at 1 Hz. Speed is that of the vehicle bus
// (km/h); GpsSpeed is a second opinion on the same signal and is left out.
func openTwizy(l *lines) *Source {
	signals := vss.Lookup()
	var chargeAt time.Time
	var charge float64
	return &Source{
		Name: "ev-twizy",
		Notes: []string{
			"RSK Twizy EV data set: NaitMalek et al., IEEE Access 10 (2022) 126412, doi 10.1109/ACCESS.2022.3225643, CC BY 4.0; changed: names, units, refused values left out",
			"VIN is synthetic (" + vss.SyntheticWMI + "...): the data set has none",
			"times are taken as UTC: the data set does not state a zone",
		},
		next: func() (Row, error) {
			fields, fault, err := l.record(len(twizyColumns))
			if err != nil {
				return Row{}, err
			}
			if fault != nil {
				return Row{Line: l.number, Refused: []Refusal{*fault}}, nil
			}
			r, ok := start(signals, l.number, "TWZY1", "1", "2006-01-02T15:04:05", fields[1])
			if !ok {
				return r.row, nil
			}
			if value, ok := r.number(vss.ChargeCurrent, fields[2]); ok {
				since := r.row.Time.Sub(chargeAt)
				if since >= 0 && since <= chargeWindow && math.Abs(value-charge) > chargeStep {
					r.refuse(vss.ChargeCurrent, reasonCharge, fields[2]+" %")
				} else {
					r.set(vss.ChargeCurrent, value)
					chargeAt, charge = r.row.Time, value
				}
			}
			if value, ok := r.number(vss.Speed, fields[3]); ok {
				r.set(vss.Speed, value)
			}
			switch fields[4] {
			case "":
			case "N":
				r.set(vss.SelectedGear, vss.GearNeutral)
			case "D":
				r.set(vss.SelectedGear, vss.GearDrive)
			case "R":
				r.set(vss.SelectedGear, vss.GearReverse)
			default:
				r.refuse(vss.SelectedGear, reasonGear, fields[4])
			}
			r.position(fields[5], fields[6])
			if value, ok := r.number(vss.Altitude, fields[7]); ok {
				if value < 0 {
					r.refuse(vss.Altitude, reasonAltitude, fields[7]+" m")
				} else {
					r.set(vss.Altitude, value)
				}
			}
			if value, ok := r.number(vss.AirTemperature, fields[9]); ok {
				r.set(vss.AirTemperature, value)
			}
			if value, ok := r.number(vss.Humidity, fields[10]); ok {
				r.set(vss.Humidity, value)
			}
			return r.row, nil
		},
	}
}
