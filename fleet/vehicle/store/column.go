package store

import (
	"fmt"
	"strings"

	"github.com/nines-ha/nines/fleet/vss"
)

// A column of sample holds one signal. A signal that joins vss.Catalogue needs
// a migration and a line here.
type column struct{ name, signal string }

func columns() []column {
	return []column{
		{"speed", vss.Speed},
		{"latitude", vss.Latitude},
		{"longitude", vss.Longitude},
		{"altitude", vss.Altitude},
		{"heading", vss.Heading},
		{"charge_current", vss.ChargeCurrent},
		{"charge_displayed", vss.ChargeDisplayed},
		{"battery_voltage", vss.BatteryVoltage},
		{"battery_power", vss.BatteryPower},
		{"battery_temperature", vss.BatteryTemperature},
		{"air_temperature", vss.AirTemperature},
		{"humidity", vss.Humidity},
		{"current_gear", vss.CurrentGear},
		{"selected_gear", vss.SelectedGear},
	}
}

// statements are the ones that name every column.
type statements struct {
	columns []column
	held    string // $1 vin, $2 times
	upsert  string // $1 vehicle, $2 times, $3... one array a column
	track   string // $1 vin, $2 from, $3 before, $4 limit

	everything string // $1 vins
}

func newStatements() statements {
	s := statements{columns: columns()}
	var names, arrays, keep []string
	for i, c := range s.columns {
		names = append(names, c.name)
		arrays = append(arrays, fmt.Sprintf("$%d::double precision[]", i+3))
		keep = append(keep, fmt.Sprintf("%[1]s = coalesce(sample.%[1]s, excluded.%[1]s)", c.name))
	}
	list := strings.Join(names, ", ")
	// LIMIT keeps the planner from turning the lookups into one scan over all
	// that the vehicle ever sent, which it does on stale statistics.
	s.held = "SELECT held.* FROM unnest($2::bigint[]) AS sent(at), LATERAL (SELECT time_ns, " + list +
		" FROM sample WHERE vehicle_id = (SELECT id FROM vehicle WHERE vin = $1) AND time_ns = sent.at LIMIT 1) AS held"
	s.upsert = "INSERT INTO sample (vehicle_id, time_ns, " + list + ") SELECT $1, * FROM unnest($2::bigint[], " + strings.Join(arrays, ", ") +
		") ON CONFLICT (vehicle_id, time_ns) DO UPDATE SET " + strings.Join(keep, ", ")
	s.track = "SELECT time_ns, " + list + " FROM sample WHERE vehicle_id = (SELECT id FROM vehicle WHERE vin = $1) AND time_ns >= $2 AND time_ns < $3 ORDER BY time_ns LIMIT $4"
	s.everything = "SELECT vin, time_ns, " + list + " FROM sample JOIN vehicle ON id = vehicle_id WHERE vin = ANY($1::text[]) ORDER BY vin, time_ns"
	return s
}

// scan reads what comes first in a row, time_ns, and every column into a sample.
func (s statements) scan(row interface{ Scan(...any) error }, first ...any) (Sample, error) {
	var at int64
	values := make([]*float64, len(s.columns))
	into := make([]any, 0, len(first)+1+len(values))
	into = append(append(into, first...), &at)
	for i := range values {
		into = append(into, &values[i])
	}
	if err := row.Scan(into...); err != nil {
		return Sample{}, err
	}
	sample := Sample{Time: fromNanoseconds(at), Values: map[string]float64{}}
	for i, value := range values {
		if value != nil {
			sample.Values[s.columns[i].signal] = *value
		}
	}
	return sample, nil
}
