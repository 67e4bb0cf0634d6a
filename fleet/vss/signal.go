// Package vss holds the vehicle signals that the fleet understands, by their
// names and units in the COVESA Vehicle Signal Specification (VSS), and the
// vehicle identification number. Call Check for a value that came from
// outside and ParseVIN for a vehicle. It knows no data set, no wire format and
// no storage, and it takes names and units that are the same in VSS 4, 5 and 6:
// that is why the odometer (km in 4, m in 6) is not among them.
package vss

import (
	"fmt"
	"math"
	"strconv"
)

// The signals that are accepted.
const (
	Speed              = "Vehicle.Speed"
	Latitude           = "Vehicle.CurrentLocation.Latitude"
	Longitude          = "Vehicle.CurrentLocation.Longitude"
	Altitude           = "Vehicle.CurrentLocation.Altitude"
	Heading            = "Vehicle.CurrentLocation.Heading"
	ChargeCurrent      = "Vehicle.Powertrain.TractionBattery.StateOfCharge.Current"
	ChargeDisplayed    = "Vehicle.Powertrain.TractionBattery.StateOfCharge.Displayed"
	BatteryVoltage     = "Vehicle.Powertrain.TractionBattery.CurrentVoltage"
	BatteryPower       = "Vehicle.Powertrain.TractionBattery.CurrentPower"
	BatteryTemperature = "Vehicle.Powertrain.TractionBattery.Temperature.Average"
	AirTemperature     = "Vehicle.Exterior.AirTemperature"
	Humidity           = "Vehicle.Exterior.Humidity"
	CurrentGear        = "Vehicle.Powertrain.Transmission.CurrentGear"
	SelectedGear       = "Vehicle.Powertrain.Transmission.SelectedGear"
)

// Values of SelectedGear beside the numbered gears.
const (
	GearNeutral = 0
	GearReverse = -1
	GearPark    = 126
	GearDrive   = 127
)

// A Signal is one leaf of the specification. Min and Max are inclusive. Where
// the specification gives a range it is that one; elsewhere it is what no road
// vehicle on Earth leaves, wide enough never to refuse a true value.
type Signal struct {
	Name     string
	Unit     string
	Min, Max float64
	Whole    bool // int8 in the specification
}

// Catalogue returns every accepted signal. The order is stable: a signal that
// joins later goes to the end.
func Catalogue() []Signal {
	return []Signal{
		{Name: Speed, Unit: "km/h", Min: -150, Max: 450},
		{Name: Latitude, Unit: "degrees", Min: -90, Max: 90},
		{Name: Longitude, Unit: "degrees", Min: -180, Max: 180},
		{Name: Altitude, Unit: "m", Min: -500, Max: 9000},
		{Name: Heading, Unit: "degrees", Min: 0, Max: 360},
		{Name: ChargeCurrent, Unit: "percent", Min: 0, Max: 100},
		{Name: ChargeDisplayed, Unit: "percent", Min: 0, Max: 100},
		{Name: BatteryVoltage, Unit: "V", Min: 0, Max: 2000},
		{Name: BatteryPower, Unit: "W", Min: -4e6, Max: 4e6},
		{Name: BatteryTemperature, Unit: "celsius", Min: -60, Max: 200},
		{Name: AirTemperature, Unit: "celsius", Min: -70, Max: 70},
		{Name: Humidity, Unit: "percent", Min: 0, Max: 100},
		{Name: CurrentGear, Min: -128, Max: 127, Whole: true},
		{Name: SelectedGear, Min: -128, Max: 127, Whole: true},
	}
}

// Lookup is the catalogue by name. Make it once and keep it.
func Lookup() map[string]Signal {
	byName := map[string]Signal{}
	for _, signal := range Catalogue() {
		byName[signal.Name] = signal
	}
	return byName
}

// Check says why a value cannot be, or nil.
func (s Signal) Check(value float64) error {
	switch {
	case math.IsNaN(value) || math.IsInf(value, 0):
		return fmt.Errorf("not a finite number")
	case value < s.Min || value > s.Max:
		unit := s.Unit
		if unit != "" {
			unit = " " + unit
		}
		return fmt.Errorf("%s is outside %s to %s%s", plain(value), plain(s.Min), plain(s.Max), unit)
	case s.Whole && value != math.Trunc(value):
		return fmt.Errorf("%s is not a whole number", plain(value))
	}
	return nil
}

func plain(value float64) string { return strconv.FormatFloat(value, 'g', -1, 64) }
