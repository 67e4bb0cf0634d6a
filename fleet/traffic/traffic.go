// Package traffic is what vehicles send to the vehicle service, as the Traffic
// of a load, and what its store holds in the end. Call New, hand the Traffic to
// load.Run, then Stored. Each client is one vehicle with a VIN of its own that
// no other run has; most of what it does is to report, at times a driver looks at
// the state or the last minute. The package opens no connection but Stored's,
// keeps no account of what was answered, and judges nothing but the form of an
// answer: whether a write is kept or a read is stale is for whoever has the record.
package traffic

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/nines-ha/nines/drill/load"
	"github.com/nines-ha/nines/fleet/telemetry"
	"github.com/nines-ha/nines/fleet/vss"
	"github.com/nines-ha/nines/record"
)

// Operations, as the record has them.
const (
	Write = "write" // POST of one sample
	Read  = "read"  // GET of the state
	Range = "range" // GET of the last minute's track
)

// A Mix is the share of each operation. Only proportions count.
type Mix struct{ Write, Read, Range float64 }

// Config says who sends what.
type Config struct {
	Seed     uint64
	Vehicles int               // one a client; 1 to 100,000
	Mix      Mix               // zero: 0.75 writes, 0.20 reads, 0.05 ranges
	Source   *telemetry.Source // read by New, as far as is of use; nil: generated
	Run      string            // what makes the VINs this run's own
}

const (
	mostVehicles = 100_000
	rangeSpan    = time.Minute
	rangeLimit   = 100 // samples of an answer
)

// PerVehicle is how many requests a second a client may send for long: the service
// takes no more from one vehicle.
const PerVehicle = 10

// Traffic makes the requests of vehicles and understands the answers.
type Traffic struct {
	mix      Mix // sums to 1
	vehicles []vehicle
}

var _ load.Traffic = (*Traffic)(nil)

// A vehicle is one client. Its fields are used by one goroutine at a time.
type vehicle struct {
	vin    vss.VIN
	random *rand.Rand
	trip   []leg
	next   int // of the trip

	signals, state, track string // paths
	last                  int64  // newest time that was sent, in nanoseconds
	known                 bool   // a write was acknowledged
}

// New prepares vehicles and what each of them will report, and reads the source.
func New(c Config) (*Traffic, error) {
	if c.Vehicles < 1 || c.Vehicles > mostVehicles {
		return nil, fmt.Errorf("%d vehicles cannot send: 1 to %d can", c.Vehicles, mostVehicles)
	}
	mix, err := c.Mix.whole()
	if err != nil {
		return nil, err
	}
	trips, err := prepare(c)
	if err != nil {
		return nil, err
	}
	t := &Traffic{mix: mix, vehicles: make([]vehicle, c.Vehicles)}
	mark := fnv.New64a()
	fmt.Fprintf(mark, "%d %s", c.Seed, c.Run)
	run := spell(mark.Sum64(), 8)
	for i := range t.vehicles {
		vin, err := vss.SyntheticVIN("D"+run[:4], run[4:]+spell(uint64(i), 4))
		if err != nil {
			return nil, err
		}
		trip := trips[i%len(trips)]
		t.vehicles[i] = vehicle{
			vin: vin, random: rand.New(rand.NewPCG(c.Seed, uint64(i))),
			// Those that share a trip are not at the same place of it.
			trip: trip, next: i / len(trips) * 7 % len(trip),
			signals: "/v1/vehicles/" + string(vin) + "/signals",
			state:   "/v1/vehicles/" + string(vin),
			track:   "/v1/vehicles/" + string(vin) + "/track?limit=" + strconv.Itoa(rangeLimit) + "&from=",
		}
	}
	return t, nil
}

func (m Mix) whole() (Mix, error) {
	if m == (Mix{}) {
		m = Mix{Write: 0.75, Read: 0.20, Range: 0.05}
	}
	sum := m.Write + m.Read + m.Range
	if !(m.Write > 0) || !(m.Read >= 0) || !(m.Range >= 0) || sum > 1e9 {
		return m, fmt.Errorf("a mix of %v writes, %v reads and %v ranges is none: shares are not negative, and without a write there is nothing to read", m.Write, m.Read, m.Range)
	}
	return Mix{m.Write / sum, m.Read / sum, m.Range / sum}, nil
}

// spell writes a number in the last digits that a VIN has room for.
func spell(number uint64, digits int) string {
	const alphabet = "0123456789ABCDEFGHJKLMNPRSTUVWXYZ"
	text := make([]byte, digits)
	for i := range text {
		text[digits-1-i] = alphabet[number%uint64(len(alphabet))]
		number /= uint64(len(alphabet))
	}
	return string(text)
}

// Mix is the share of each operation by name.
func (t *Traffic) Mix() map[string]float64 {
	return map[string]float64{Write: t.mix.Write, Read: t.mix.Read, Range: t.mix.Range}
}

// Entities are the VINs of all vehicles, those that sent nothing included.
func (t *Traffic) Entities() []string {
	entities := make([]string, len(t.vehicles))
	for i := range t.vehicles {
		entities[i] = string(t.vehicles[i].vin)
	}
	return entities
}

// Next fills in the next request of a vehicle: a write while none was
// acknowledged, and then whatever the dice say.
func (t *Traffic) Next(client int, out *load.Request) {
	v := &t.vehicles[client]
	now := time.Now()
	dice := v.random.Float64()
	// A write too: the service keeps the first value for a vehicle, time and signal.
	out.Idempotent = true
	switch {
	case dice < t.mix.Write || !v.known:
		v.report(now, out)
	case dice < t.mix.Write+t.mix.Read:
		out.Op, out.Method, out.Path, out.Entity = Read, http.MethodGet, v.state, string(v.vin)
	default:
		out.Op, out.Method, out.Entity = Range, http.MethodGet, string(v.vin)
		out.Path = v.track + now.Add(-rangeSpan).UTC().Format(time.RFC3339Nano)
	}
}

// report writes the next leg of the trip with a time that is later than all
// before: that of the clock, or a nanosecond more where the clock stood still.
func (v *vehicle) report(now time.Time, out *load.Request) {
	at := max(now.UnixNano(), v.last+1)
	v.last = at
	leg := v.trip[v.next]
	v.next = (v.next + 1) % len(v.trip)
	out.Op, out.Method, out.Path, out.Type = Write, http.MethodPost, v.signals, "application/json"
	body := append(out.Body[:0], `{"samples":[{"time":"`...)
	body = time.Unix(0, at).UTC().AppendFormat(body, time.RFC3339Nano)
	body = append(body, `","signals":`...)
	body = append(body, leg.signals...)
	out.Body = append(body, `}]}`...)
	out.Write = &record.Write{Entity: string(v.vin), Version: at, Sum: leg.sum}
}
