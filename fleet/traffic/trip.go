package traffic

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/nines-ha/nines/fleet/telemetry"
	"github.com/nines-ha/nines/fleet/vss"
)

// A leg is what a vehicle reports at one time, ready to be sent again and again:
// only its time is new each time.
type leg struct {
	signals []byte // JSON
	sum     string
}

// Bounds of what is kept of a source, some 20 MiB at the most.
const (
	mostLegs  = 50_000
	mostTrips = 200 // that are generated; vehicles share them
)

// prepare reads the source into one trip for each of its vehicles.
func prepare(c Config) ([][]leg, error) {
	source := c.Source
	if source == nil {
		var err error
		source, err = telemetry.Generate(telemetry.Trips{Count: min(c.Vehicles, mostTrips), Seed: c.Seed})
		if err != nil {
			return nil, err
		}
	}
	var trips [][]leg
	place := map[vss.VIN]int{}
	for kept := 0; kept < mostLegs; {
		row, err := source.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read telemetry: %w", err)
		}
		if len(row.Values) == 0 {
			continue
		}
		signals, err := json.Marshal(row.Values)
		if err != nil {
			return nil, fmt.Errorf("encode a row of %s: %w", row.Vehicle, err)
		}
		i, ok := place[row.Vehicle]
		if !ok {
			i = len(trips)
			place[row.Vehicle] = i
			trips = append(trips, nil)
		}
		trips[i] = append(trips[i], leg{signals, Sum(row.Values)})
		kept++
	}
	if len(trips) == 0 {
		return nil, fmt.Errorf("%s has no row that could be sent; choose another file, or none to have telemetry generated", source.Name)
	}
	return trips, nil
}

// Sum is the digest of what one sample says, the same for the same values
// whatever way they took: 16 hexadecimal digits.
func Sum(values map[string]float64) string {
	digest := fnv.New64a()
	line := make([]byte, 0, 96)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := values[name]
		if value == 0 {
			value = 0 // there are two zeros, and JSON and SQL need not tell them apart
		}
		line = append(append(line[:0], name...), '=')
		line = strconv.AppendUint(line, math.Float64bits(value), 16)
		_, _ = digest.Write(append(line, '\n'))
	}
	return fmt.Sprintf("%016x", digest.Sum64())
}
