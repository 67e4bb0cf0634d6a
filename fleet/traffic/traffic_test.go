package traffic

import (
	"encoding/json"
	"math"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nines-ha/nines/drill/load"
	"github.com/nines-ha/nines/fleet/telemetry"
	"github.com/nines-ha/nines/fleet/vehicle/wire"
	"github.com/nines-ha/nines/fleet/vss"
	"github.com/nines-ha/nines/record"
)

func vehicles(t testing.TB, c Config) *Traffic {
	t.Helper()
	traffic, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return traffic
}

func write(t testing.TB, traffic *Traffic, client int) (*load.Request, wire.Sample) {
	t.Helper()
	var out load.Request
	traffic.Next(client, &out)
	if out.Op != Write {
		t.Fatalf("a vehicle that has reported nothing sends %s %s", out.Method, out.Path)
	}
	var batch wire.Batch
	if err := json.Unmarshal(out.Body, &batch); err != nil || len(batch.Samples) != 1 {
		t.Fatalf("%s: %v", out.Body, err)
	}
	return &out, batch.Samples[0]
}

func TestWritesSayWhatTheRecordSays(t *testing.T) {
	traffic := vehicles(t, Config{Seed: 7, Vehicles: 3, Run: "a"})
	signals := vss.Lookup()
	before := time.Now()
	var last [3]int64
	for range 600 { // more than a trip has
		for client := range last {
			out, sample := write(t, traffic, client)
			vin := traffic.Entities()[client]
			if out.Method != "POST" || out.Path != "/v1/vehicles/"+vin+"/signals" || out.Write.Entity != vin || out.Write.Acknowledged {
				t.Fatalf("%s %s with %+v", out.Method, out.Path, out.Write)
			}
			if out.Write.Version != sample.Time.UnixNano() || out.Write.Version <= last[client] {
				t.Fatalf("version %d of a sample at %d after %d", out.Write.Version, sample.Time.UnixNano(), last[client])
			}
			last[client] = out.Write.Version
			if sample.Time.Before(before) || sample.Time.After(time.Now().Add(time.Millisecond)) {
				t.Fatalf("sample of %s", sample.Time)
			}
			if out.Write.Sum != Sum(sample.Signals) || len(sample.Signals) == 0 {
				t.Fatalf("sum %s of %v", out.Write.Sum, sample.Signals)
			}
			for name, value := range sample.Signals {
				if err := signals[name].Check(value); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
		}
	}
}

func TestVINs(t *testing.T) {
	seen := map[string]string{}
	for name, c := range map[string]Config{
		"a run":          {Seed: 1, Vehicles: 2000, Run: "1123195601"},
		"the next run":   {Seed: 1, Vehicles: 2000, Run: "1123195602"},
		"another seed":   {Seed: 2, Vehicles: 2000, Run: "1123195601"},
		"without a name": {Seed: 1, Vehicles: 2000},
	} {
		for _, vin := range vehicles(t, c).Entities() {
			parsed, err := vss.ParseVIN(vin)
			if err != nil || !parsed.Synthetic() {
				t.Fatalf("%s: %q: %v", name, vin, err)
			}
			if other, ok := seen[vin]; ok {
				t.Fatalf("%s is a vehicle of %s and of %s", vin, name, other)
			}
			seen[vin] = name
		}
	}
	again, same := vehicles(t, Config{Seed: 1, Vehicles: 5, Run: "x"}), vehicles(t, Config{Seed: 1, Vehicles: 5, Run: "x"})
	if !slices.Equal(again.Entities(), same.Entities()) {
		t.Error("the same run has other vehicles")
	}
}

func TestNewRefuses(t *testing.T) {
	empty := file(t, header)
	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"nobody":          {Config{}, "0 vehicles"},
		"too many":        {Config{Vehicles: mostVehicles + 1}, "1 to 100000 can"},
		"negative share":  {Config{Vehicles: 1, Mix: Mix{Write: 1, Read: -1}}, "not negative"},
		"no number":       {Config{Vehicles: 1, Mix: Mix{Write: math.NaN()}}, "is none"},
		"nothing to read": {Config{Vehicles: 1, Mix: Mix{Read: 1}}, "without a write"},
		"empty file":      {Config{Vehicles: 1, Source: empty}, "has no row that could be sent"},
	} {
		if _, err := New(c.config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

const header = "vehicle_id,timestamp,speed,route_id,trip_id,latitude,longitude,trip_headsign\n"

func file(t *testing.T, body string) *telemetry.Source {
	t.Helper()
	source, err := telemetry.Open(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// The rows of a file are sent as if they happened now, each vehicle of ours as
// one of the file's, over and over.
func TestFileIsDriven(t *testing.T) {
	source := file(t, header+
		"2001,2016-11-25T00:00:01-06:00,10,1,1,30.1,-97.1,x\n"+
		"2002,2016-11-25T00:00:02-06:00,20,1,1,30.2,-97.2,x\n"+
		"2001,2016-11-25T00:00:03-06:00,30,1,1,30.3,-97.3,x\n")
	traffic := vehicles(t, Config{Vehicles: 2, Source: source})
	for client, want := range [][]float64{{36, 108, 36}, {72, 72, 72}} {
		for _, speed := range want {
			_, sample := write(t, traffic, client)
			if got := sample.Signals[vss.Speed]; got != speed || time.Since(sample.Time) > time.Minute {
				t.Errorf("vehicle %d reports %v km/h at %s, want %v now", client, got, sample.Time, speed)
			}
		}
	}
}

func TestMixIsKept(t *testing.T) {
	traffic := vehicles(t, Config{Seed: 3, Vehicles: 1, Mix: Mix{Write: 6, Read: 3, Range: 1}})
	if mix := traffic.Mix(); mix[Write] != 0.6 || mix[Read] != 0.3 || mix[Range] != 0.1 {
		t.Errorf("mix %v", mix)
	}
	acknowledge(t, traffic, 0)
	const n = 20_000
	counts := map[string]int{}
	for range n {
		var out load.Request
		traffic.Next(0, &out)
		counts[out.Op]++
		if out.Op == Range {
			from, err := url.Parse(out.Path)
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse(time.RFC3339Nano, from.Query().Get("from"))
			if err != nil || time.Since(at) < rangeSpan || time.Since(at) > rangeSpan+time.Minute {
				t.Fatalf("%s: %v", out.Path, err)
			}
		}
	}
	for op, want := range traffic.Mix() {
		if got := float64(counts[op]) / n; math.Abs(got-want) > 0.02 {
			t.Errorf("%s: %.3f of the requests, want %.1f", op, got, want)
		}
	}
}

func acknowledge(t testing.TB, traffic *Traffic, client int) *record.Request {
	t.Helper()
	out, _ := write(t, traffic, client)
	told := &record.Request{Write: out.Write}
	body, err := json.Marshal(wire.Receipt{VIN: out.Write.Entity, Samples: 1, Accepted: 1, Refused: []wire.Refusal{}})
	if err != nil {
		t.Fatal(err)
	}
	traffic.Answered(client, out, 200, body, told)
	if !told.Write.Acknowledged || told.Error != "" {
		t.Fatalf("%s: %+v", body, told)
	}
	return told
}

func TestAnswers(t *testing.T) {
	traffic := vehicles(t, Config{Seed: 1, Vehicles: 1})
	vin := traffic.Entities()[0]
	at := time.Unix(0, acknowledge(t, traffic, 0).Write.Version).UTC().Format(time.RFC3339Nano)
	for name, c := range map[string]struct {
		op, body string
		status   int
		wrong    string // "": nothing
		saw      int64  // -1: no read
	}{
		"accepted":                {Write, `{"vin":"VIN","samples":1,"accepted":1,"duplicates":0,"refused":[]}`, 200, "", -1},
		"accepted once more":      {Write, `{"vin":"VIN","samples":1,"accepted":1,"duplicates":1,"refused":[]}`, 200, "", -1},
		"refused":                 {Write, `{"vin":"VIN","samples":1,"accepted":0,"refused":[{"code":"bad_time","detail":"in the future"}]}`, 200, "refused: bad_time in the future", -1},
		"refused in part":         {Write, `{"vin":"VIN","samples":1,"accepted":1,"refused":[{"code":"conflict"}]}`, 200, "refused: conflict", -1},
		"nothing was accepted":    {Write, `{"vin":"VIN","samples":1,"accepted":0,"refused":[]}`, 200, "0 were accepted", -1},
		"another vehicle's":       {Write, `{"vin":"W","samples":1,"accepted":1}`, 200, "another vehicle: W", -1},
		"no receipt":              {Write, `<html>`, 200, "not a receipt", -1},
		"an error is the status":  {Write, `{"detail":"x"}`, 503, "", -1},
		"created is no promise":   {Write, `{"vin":"VIN","samples":1,"accepted":1}`, 202, "", -1},
		"state":                   {Read, `{"vin":"VIN","signals":{"a":{"value":1,"time":"AT"},"b":{"value":1,"time":"2001-01-01T00:00:00Z"}}}`, 200, "", 1},
		"state of another":        {Read, `{"vin":"W","signals":{"a":{"value":1,"time":"AT"}}}`, 200, "the state of another vehicle", -1},
		"empty state":             {Read, `{"vin":"VIN","signals":{}}`, 200, "without signals", -1},
		"state from nowhere":      {Read, `{"vin":"VIN","signals":{"a":{"value":1,"time":"2101-01-01T00:00:00Z"}}}`, 200, "never sent", -1},
		"no state":                {Read, `null and void`, 200, "not a state", -1},
		"vehicle is not known":    {Read, `{"status":404}`, 404, "", 0},
		"state that is not there": {Read, ``, 504, "", -1},
		"track":                   {Range, `{"vin":"VIN","samples":[{"time":"2001-01-01T00:00:00Z","signals":{"a":1}},{"time":"AT","signals":{"a":1}}]}`, 200, "", -1},
		"empty track":             {Range, `{"vin":"VIN","samples":[]}`, 200, "", -1},
		"track in disorder":       {Range, `{"vin":"VIN","samples":[{"time":"AT"},{"time":"AT"}]}`, 200, "not in order", -1},
		"track from nowhere":      {Range, `{"vin":"VIN","samples":[{"time":"2101-01-01T00:00:00Z"}]}`, 200, "never sent", -1},
		"track of another":        {Range, `{"vin":"W","samples":[]}`, 200, "the track of another vehicle", -1},
	} {
		t.Run(name, func(t *testing.T) {
			out := &load.Request{Op: c.op}
			told := &record.Request{}
			if c.op == Write {
				out.Write = &record.Write{Entity: vin, Version: 1, Sum: "s"}
				told.Write = out.Write
			}
			body := strings.NewReplacer("VIN", vin, "AT", at).Replace(c.body)
			traffic.Answered(0, out, c.status, []byte(body), told)
			if (told.Error != "") != (c.wrong != "") || !strings.Contains(told.Detail, c.wrong) || told.Error != "" && told.Error != record.WrongAnswer {
				t.Errorf("%q: %q, want %q", told.Error, told.Detail, c.wrong)
			}
			if told.Write != nil && told.Write.Acknowledged != (c.status == 200 && c.wrong == "") {
				t.Errorf("acknowledged: %v", told.Write.Acknowledged)
			}
			switch {
			case (told.Read != nil) != (c.saw >= 0):
				t.Errorf("read %+v", told.Read)
			case c.saw == 1 && (told.Read.Entity != vin || time.Unix(0, told.Read.Saw).UTC().Format(time.RFC3339Nano) != at):
				t.Errorf("saw %+v, want %s", told.Read, at)
			case c.saw == 0 && told.Read.Saw != 0:
				t.Errorf("saw %d of a vehicle that is not known", told.Read.Saw)
			}
		})
	}
}

func TestSumTellsApart(t *testing.T) {
	base := map[string]float64{vss.Speed: 50.25, vss.Latitude: 48.1, vss.Longitude: 11.5}
	same := map[string]float64{vss.Longitude: 11.5, vss.Latitude: 48.1, vss.Speed: 50.25}
	if Sum(base) != Sum(same) || len(Sum(base)) != 16 {
		t.Errorf("%s and %s", Sum(base), Sum(same))
	}
	if Sum(map[string]float64{vss.Speed: 0}) != Sum(map[string]float64{vss.Speed: math.Copysign(0, -1)}) {
		t.Error("the two zeros differ")
	}
	for name, other := range map[string]map[string]float64{
		"last bit":   {vss.Speed: math.Nextafter(50.25, 51), vss.Latitude: 48.1, vss.Longitude: 11.5},
		"one less":   {vss.Speed: 50.25, vss.Latitude: 48.1},
		"swapped":    {vss.Speed: 50.25, vss.Latitude: 11.5, vss.Longitude: 48.1},
		"nothing":    {},
		"other name": {vss.Heading: 50.25, vss.Latitude: 48.1, vss.Longitude: 11.5},
	} {
		if Sum(base) == Sum(other) {
			t.Errorf("%s: the same sum", name)
		}
	}
}

func FuzzAnswered(f *testing.F) {
	f.Add(Write, []byte(`{"vin":"V","samples":1,"accepted":1}`))
	f.Add(Read, []byte(`{"vin":"V","signals":{"a":{"time":"2024-01-01T00:00:00Z"}}}`))
	f.Add(Range, []byte(`{"samples":[{"time":"2024-01-01T00:00:00Z"}]}`))
	traffic := vehicles(f, Config{Vehicles: 1})
	vin := traffic.Entities()[0]
	f.Fuzz(func(t *testing.T, op string, body []byte) {
		told := &record.Request{Write: &record.Write{}}
		traffic.Answered(0, &load.Request{Op: op, Write: told.Write}, 200, body, told)
		if told.Write.Acknowledged && !strings.Contains(string(body), vin) {
			t.Errorf("%q is taken for a receipt of %s", body, vin)
		}
		if len(told.Detail) > 400 {
			t.Errorf("a detail of %d bytes", len(told.Detail))
		}
	})
}

func BenchmarkNextWrite(b *testing.B) {
	traffic := vehicles(b, Config{Vehicles: 1})
	var out load.Request
	b.ReportAllocs()
	for b.Loop() {
		traffic.Next(0, &out)
	}
}
