package telemetry

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nines-ha/nines/fleet/vss"
)

const austinSample = `vehicle_id,timestamp,speed,route_id,trip_id,latitude,longitude,trip_headsign
1001,2020-01-01T00:00:10-06:00,10.0,1,7,30.25,-97.75,"North, by the river"
1002,2020-01-01T00:00:11-06:00,12.96416,1,8,30.26,-97.76,
1001,2020-01-01T00:00:12-06:00,80.9,1,7,30.27,-97.77,North
1003,2020-01-01T00:00:13-06:00,5,1,9,0,-97.77,North
1003,yesterday,5,1,9,30.1,-97.77,North
x-y,2020-01-01T00:00:13-06:00,5,1,9,30.1,-97.77,North
1003,2020-01-01T00:00:14-06:00,5,1,9
1003,2020-01-01T00:00:15-06:00,fast,1,9,30.1,-97.77,"North
1003,2020-01-01T00:00:16-06:00,fast,1,9,30.1,-97.77,North
`

const twizySample = `trip,timestamp,Soc,Speed,Mode,LAT,LON,ALT,GpsSpeed,Temperature,Humidity,Weather,WindSpeedAv,Traffic,SpeedLimit
T1,2021-01-01T10:00:00,14.7,36.5,D,33.9,-6.7,140,36,20,60,Clouds,2.49,0,40
T1,2021-01-01T10:00:01,0.02,36.5,N,33.9,1555.6333,-3,36,20,60,Clouds,2.49,0,40
T1,2021-01-01T10:00:02,13.3,36.5,R,0,-6.7,0,36,20,60,Clouds,2.49,0,40
T1,2021-01-01T10:02:00,50,36.5,X,33.9,-6.7,0,36,20,600,Clouds,2.49,0,40
`

func readAll(t *testing.T, source *Source) []Row {
	t.Helper()
	var rows []Row
	for {
		row, err := source.Next()
		if err == io.EOF {
			return rows
		}
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
}

// render is a row in one line, stable.
func render(row Row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", row.Vehicle, row.Time.Format(time.RFC3339))
	for _, name := range slices.Sorted(maps.Keys(row.Values)) {
		fmt.Fprintf(&b, " %s=%v", name[strings.LastIndex(name, ".")+1:], row.Values[name])
	}
	for _, r := range row.Refused {
		fmt.Fprintf(&b, " -%s: %s", r.Subject, r.Reason)
	}
	return b.String()
}

func TestRowsOfTheDataSets(t *testing.T) {
	cases := []struct {
		name, text string
		want       []string
	}{
		{"fleet-austin-2016", austinSample, []string{
			"0SYAUS16400001001 2020-01-01T06:00:10Z Latitude=30.25 Longitude=-97.75 Speed=36",
			"0SYAUS16600001002 2020-01-01T06:00:11Z Latitude=30.26 Longitude=-97.76 Speed=46.670976",
			"0SYAUS16400001001 2020-01-01T06:00:12Z Latitude=30.27 Longitude=-97.77 -Vehicle.Speed: faster than a bus: over 126 km/h",
			"0SYAUS16800001003 2020-01-01T06:00:13Z Speed=18 -Vehicle.CurrentLocation: not a position on Earth, or zero",
			"0SYAUS16800001003 0001-01-01T00:00:00Z -row: not a time",
			" 0001-01-01T00:00:00Z -row: no usable vehicle id",
			" 0001-01-01T00:00:00Z -row: wrong number of columns",
			" 0001-01-01T00:00:00Z -row: not comma-separated values",
			"0SYAUS16800001003 2020-01-01T06:00:16Z Latitude=30.1 Longitude=-97.77 -Vehicle.Speed: not a number",
		}},
		{"ev-twizy", twizySample, []string{
			"0SYTWZY1200000001 2021-01-01T10:00:00Z Altitude=140 Latitude=33.9 Longitude=-6.7 AirTemperature=20 Humidity=60 Current=14.7 SelectedGear=127 Speed=36.5",
			"0SYTWZY1200000001 2021-01-01T10:00:01Z AirTemperature=20 Humidity=60 SelectedGear=0 Speed=36.5 -Vehicle.Powertrain.TractionBattery.StateOfCharge.Current: jumped by more than 5 points within a minute -Vehicle.CurrentLocation: not a position on Earth, or zero -Vehicle.CurrentLocation.Altitude: below sea level, where this car never was",
			"0SYTWZY1200000001 2021-01-01T10:00:02Z Altitude=0 AirTemperature=20 Humidity=60 Current=13.3 SelectedGear=-1 Speed=36.5 -Vehicle.CurrentLocation: not a position on Earth, or zero",
			"0SYTWZY1200000001 2021-01-01T10:02:00Z Altitude=0 Latitude=33.9 Longitude=-6.7 AirTemperature=20 Current=50 Speed=36.5 -Vehicle.Powertrain.Transmission.SelectedGear: not N, D or R -Vehicle.Exterior.Humidity: outside the range of the signal",
		}},
	}
	for _, c := range cases {
		for _, zipped := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/gzip=%v", c.name, zipped), func(t *testing.T) {
				body := []byte(c.text)
				if zipped {
					var b bytes.Buffer
					w := gzip.NewWriter(&b)
					w.Write(body)
					w.Close()
					body = b.Bytes()
				}
				source, err := Open(bytes.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				if source.Name != c.name {
					t.Errorf("recognised as %s", source.Name)
				}
				var got []string
				for _, row := range readAll(t, source) {
					got = append(got, render(row))
				}
				if a, b := strings.Join(got, "\n"), strings.Join(c.want, "\n"); a != b {
					t.Errorf("got\n%s\nwant\n%s", a, b)
				}
			})
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	long := strings.SplitAfter(austinSample, "\n")[0] + strings.Repeat("9", longestLine+1)
	cases := []struct {
		name, text string
		known      bool
	}{
		{"empty", "", false},
		{"other header", "a,b,c\n1,2,3\n", false},
		{"gzip magic and no gzip", "\x1f\x8bxx", false},
		{"line without end", long, true},
	}
	for _, c := range cases {
		source, err := Open(strings.NewReader(c.text))
		if c.known != (err == nil) {
			t.Errorf("%s: open: %v", c.name, err)
		}
		if err == nil {
			if _, err = source.Next(); err == nil || err == io.EOF {
				t.Errorf("%s: next: %v", c.name, err)
			}
		}
	}
	if _, err := Open(strings.NewReader("a,b\n")); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
}

func TestGenerate(t *testing.T) {
	generate := func(trips Trips) []Row {
		source, err := Generate(trips)
		if err != nil {
			t.Fatal(err)
		}
		return readAll(t, source)
	}
	rows := generate(Trips{Count: 5, Vehicles: 2, Seed: 7})
	if len(rows) != 5*tripRows {
		t.Fatalf("%d rows, want %d", len(rows), 5*tripRows)
	}
	signals, seen := vss.Lookup(), map[string]bool{}
	for i, row := range rows {
		if _, err := vss.ParseVIN(string(row.Vehicle)); err != nil || !row.Vehicle.Synthetic() {
			t.Fatalf("row %d: %s: %v", i, row.Vehicle, err)
		}
		key := fmt.Sprint(row.Vehicle, row.Time)
		if seen[key] {
			t.Fatalf("row %d: second %s", i, key)
		}
		seen[key] = true
		if i > 0 && row.Time.Before(rows[i-1].Time) {
			t.Fatalf("row %d goes back in time", i)
		}
		for name, value := range row.Values {
			if err := signals[name].Check(value); err != nil {
				t.Fatalf("row %d: %s: %v", i, name, err)
			}
		}
	}
	for i, row := range generate(Trips{Count: 5, Vehicles: 2, Seed: 7}) {
		if render(row) != render(rows[i]) {
			t.Fatalf("row %d differs with the same seed", i)
		}
	}
	known := map[string]string{}
	for _, row := range rows {
		known[fmt.Sprint(row.Vehicle, row.Time)] = render(row)
	}
	for _, row := range generate(Trips{Count: 12, Vehicles: 6, Seed: 7}) {
		if before, ok := known[fmt.Sprint(row.Vehicle, row.Time)]; ok && before != render(row) {
			t.Fatalf("a larger fleet drives differently:\n%s\n%s", before, render(row))
		}
	}
	if other := generate(Trips{Count: 1, Seed: 8}); other[0].Vehicle == rows[0].Vehicle {
		t.Error("another seed drives the same vehicle")
	}
	for _, bad := range []Trips{{}, {Count: 10_000, Vehicles: 10_000}, {Count: 1, Vehicles: -1}} {
		if _, err := Generate(bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestBatcher(t *testing.T) {
	b := NewBatcher(2, 3)
	sizes := func(batches []Batch) (s string) {
		for _, batch := range batches {
			s += fmt.Sprintf("%s%d ", batch.Vehicle, len(batch.Rows))
		}
		return s
	}
	var got []string
	for _, vin := range []vss.VIN{"A", "B", "A", "C", "D", "B"} {
		got = append(got, sizes(b.Add(Row{Vehicle: vin})))
	}
	got = append(got, sizes(b.Drain()), sizes(b.Drain()))
	want := []string{"", "", "A2 ", "", "B1 C1 D1 ", "", "B1 ", ""}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte(austinSample))
	f.Add([]byte(twizySample))
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	w.Write([]byte(austinSample))
	w.Close()
	f.Add(zipped.Bytes())
	signals := vss.Lookup()
	f.Fuzz(func(t *testing.T, body []byte) {
		source, err := Open(bytes.NewReader(body))
		if err != nil {
			return
		}
		for range 1000 {
			row, err := source.Next()
			if err != nil {
				return
			}
			if len(row.Values) == 0 {
				continue
			}
			if _, err := vss.ParseVIN(string(row.Vehicle)); err != nil || row.Time.IsZero() {
				t.Fatalf("values of %q at %v: %v", row.Vehicle, row.Time, err)
			}
			if _, half := row.Values[vss.Latitude]; half != (row.Values[vss.Longitude] != 0) {
				t.Fatalf("half a position: %v", row.Values)
			}
			for name, value := range row.Values {
				if err := signals[name].Check(value); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
		}
	})
}
