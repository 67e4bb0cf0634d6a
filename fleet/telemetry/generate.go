package telemetry

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"time"

	"github.com/nines-ha/nines/fleet/vss"
)

// Trips describes generated telemetry. A vehicle of the same seed and place in
// the fleet drives the same, so that a second replay is all duplicates and a
// longer one begins with them.
type Trips struct {
	Count    int    // trips in all
	Vehicles int    // that drive them in turn; 0: one a trip, at most 9,999
	Seed     uint64 // also part of the VINs: other seed, other vehicles
}

const (
	tripRows     = 240
	tripInterval = 5 * time.Second
	tripBreak    = 10 * time.Minute
	mostVehicles = 9999
)

// Generate makes trips of 20 minutes, a row every 5 seconds, in order of time.
// The vehicles are labelled synthetic by their VINs, and the roads are straight
// lines with bends: good for load and for looking at, not for conclusions about
// traffic.
func Generate(trips Trips) (*Source, error) {
	if trips.Count < 1 {
		return nil, fmt.Errorf("generate %d trips: ask for at least one", trips.Count)
	}
	if trips.Vehicles == 0 {
		trips.Vehicles = min(trips.Count, mostVehicles)
	}
	trips.Vehicles = min(trips.Vehicles, trips.Count)
	if trips.Vehicles < 1 || trips.Vehicles > mostVehicles {
		return nil, fmt.Errorf("generate for %d vehicles: 1 to %d are possible", trips.Vehicles, mostVehicles)
	}
	cars := make([]*car, trips.Vehicles)
	for i := range cars {
		vin, err := vss.SyntheticVIN("GENER", fmt.Sprintf("%s%04d", seedMark(trips.Seed), i+1))
		if err != nil {
			return nil, err
		}
		// Each vehicle rolls its own dice: what it drives does not depend on how
		// many others and how many trips were asked for.
		random := rand.New(rand.NewPCG(trips.Seed, uint64(i)))
		cars[i] = &car{
			vin: vin, random: random, latitude: 48 + random.Float64()*0.4, longitude: 11 + random.Float64()*0.6,
			heading: random.Float64() * 360, charge: 60 + random.Float64()*40, air: 5 + random.Float64()*20,
		}
	}
	begin := time.Date(2024, 1, 1, 6, 0, 0, 0, time.UTC)
	round, tick, turn := 0, 0, 0
	return &Source{
		Name:  "generated",
		Notes: []string{fmt.Sprintf("synthetic trips from seed %d: no vehicle ever drove them; VINs begin with %s", trips.Seed, vss.SyntheticWMI)},
		next: func() (Row, error) {
			active := min(len(cars), trips.Count-round*len(cars))
			if active <= 0 {
				return Row{}, io.EOF
			}
			at := begin.Add(time.Duration(round)*(tripRows*tripInterval+tripBreak) + time.Duration(tick)*tripInterval)
			row := cars[turn].drive(at, tick)
			if turn++; turn == active {
				turn, tick = 0, tick+1
			}
			if tick == tripRows {
				tick, round = 0, round+1
			}
			return row, nil
		},
	}, nil
}

// seedMark folds a seed into four characters of a VIN.
func seedMark(seed uint64) string {
	const alphabet = "0123456789ABCDEFGHJKLMNPRSTUVWXYZ"
	mark := make([]byte, 4)
	for i := range mark {
		mark[i] = alphabet[seed%uint64(len(alphabet))]
		seed /= uint64(len(alphabet))
	}
	return string(mark)
}

type car struct {
	vin                                 vss.VIN
	random                              *rand.Rand
	latitude, longitude, heading, speed float64
	charge, air                         float64
}

func (c *car) drive(at time.Time, tick int) Row {
	aim := 50 + 30*math.Sin(float64(tick)/20)
	if tick < 3 || tick > tripRows-4 {
		aim = 0
	}
	c.speed = math.Max(0, c.speed+(aim-c.speed)*0.3+c.random.NormFloat64()*2)
	if aim == 0 {
		c.speed = 0
	}
	c.heading = math.Mod(c.heading+c.random.NormFloat64()*8+360, 360)
	metres := c.speed / 3.6 * tripInterval.Seconds()
	c.latitude += metres * math.Cos(c.heading*math.Pi/180) / 111_320
	c.longitude += metres * math.Sin(c.heading*math.Pi/180) / (111_320 * math.Cos(c.latitude*math.Pi/180))
	if c.charge -= metres * 0.00002; c.charge < 10 {
		c.charge = 90
	}
	gear := float64(vss.GearDrive)
	if c.speed == 0 {
		gear = vss.GearPark
	}
	return Row{Vehicle: c.vin, Time: at, Values: map[string]float64{
		vss.Speed: decimal(c.speed), vss.Latitude: decimal(c.latitude), vss.Longitude: decimal(c.longitude),
		vss.Heading: decimal(c.heading), vss.ChargeCurrent: decimal(c.charge), vss.AirTemperature: decimal(c.air), vss.SelectedGear: gear,
	}}
}
