package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nines-ha/nines/fleet/telemetry"
	"github.com/nines-ha/nines/fleet/vehicle/api"
	"github.com/nines-ha/nines/fleet/vehicle/store"
	"github.com/nines-ha/nines/fleet/vehicle/storetest"
	"github.com/nines-ha/nines/fleet/vehicle/wire"
	"github.com/nines-ha/nines/fleet/vss"
)

var server *storetest.Server

func TestMain(m *testing.M) {
	server = storetest.Start()
	code := m.Run()
	if err := server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// serve runs the real API, inside a wrapper that may do it harm.
func serve(t *testing.T, wrap func(http.Handler) http.Handler) string {
	t.Helper()
	s, err := store.Open(t.Context(), server.Database(t), 6)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	handler := api.New(s, "test", api.Options{})
	if wrap != nil {
		handler = wrap(handler)
	}
	web := httptest.NewServer(handler)
	t.Cleanup(web.Close)
	return web.URL
}

func trips(t *testing.T, count int) *telemetry.Source {
	t.Helper()
	source, err := telemetry.Generate(telemetry.Trips{Count: count, Vehicles: 2, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	return source
}

const buses = `vehicle_id,timestamp,speed,route_id,trip_id,latitude,longitude,trip_headsign
1001,2020-01-01T00:00:10-06:00,10.0,1,7,30.25,-97.75,North
1002,2020-01-01T00:00:11-06:00,12.96416,1,8,30.26,-97.76,South
1001,2020-01-01T00:00:12-06:00,80.9,1,7,30.27,-97.77,North
1001,never,10.0,1,7,30.27,-97.77,North
1002,2020-01-01T00:00:11-06:00,12.96416,1,8,30.26,-97.70,South
`

func open(t *testing.T, text string) *telemetry.Source {
	t.Helper()
	source, err := telemetry.Open(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func TestReplayOfADataSet(t *testing.T) {
	url := serve(t, nil)
	for _, again := range []bool{false, true} {
		report, err := Run(t.Context(), Plan{URL: url, Source: open(t, buses), Verify: true})
		if err != nil {
			t.Fatal(err)
		}
		duplicates := 1 // the last row repeats a time; one value of it contradicts
		if again {
			duplicates = 4
		}
		want := Report{Source: "fleet-austin-2016", Notes: report.Notes, URL: url, Rows: 5, Vehicles: 2,
			Accepted: 4, Duplicates: duplicates, RefusedRows: 1, Refused: 3,
			Reasons: map[string]int{
				"source: Vehicle.Speed: faster than a bus: over 126 km/h": 1,
				"source: row: not a time":                                 1,
				"service: Vehicle.CurrentLocation.Longitude: conflict":    1,
			},
			Requests: report.Requests, Seconds: report.Seconds, RowsPerSecond: report.RowsPerSecond,
			ReadBack: ReadBack{Done: true, Equal: true, Rows: 4, Values: 10},
		}
		if got, want := text(report), text(want); got != want {
			t.Errorf("again %v: got\n%s\nwant\n%s", again, got, want)
		}
	}
}

func text(report Report) string {
	body, _ := json.MarshalIndent(report, "", " ")
	return string(body)
}

func TestWindowsVehiclesAndLimit(t *testing.T) {
	url := serve(t, nil)
	cases := []struct {
		name           string
		plan           Plan
		rows, vehicles int
	}{
		{"all, in many windows", Plan{window: 100}, 720, 2},
		{"one vehicle", Plan{Vehicles: 1}, 480, 1},
		{"limited", Plan{Limit: 101}, 101, 2},
		{"limited to a window", Plan{Limit: 100, window: 100}, 100, 2},
		{"one request at a time", Plan{Concurrency: 1}, 720, 2},
	}
	for _, c := range cases {
		c.plan.URL, c.plan.Source, c.plan.Verify = url, trips(t, 3), true
		report, err := Run(t.Context(), c.plan)
		if err != nil || report.Rows != c.rows || report.Vehicles != c.vehicles || report.Accepted != c.rows || !report.ReadBack.Equal || report.ReadBack.Rows != c.rows {
			t.Errorf("%s: %v %+v", c.name, err, report)
		}
	}
}

// spoil changes the tracks on their way to the client.
func spoil(change func(*wire.Track)) func(http.Handler) http.Handler {
	return func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/track") {
				inner.ServeHTTP(w, r)
				return
			}
			recorder := httptest.NewRecorder()
			inner.ServeHTTP(recorder, r)
			var track wire.Track
			if err := json.NewDecoder(recorder.Body).Decode(&track); err != nil {
				panic(err)
			}
			change(&track)
			_ = json.NewEncoder(w).Encode(track)
		})
	}
}

func TestReadBackFindsFaults(t *testing.T) {
	cases := []struct {
		name               string
		change             func(*wire.Track)
		missing, different int
	}{
		{"as it is", func(*wire.Track) {}, 0, 0},
		{"a value is off by little", func(track *wire.Track) { track.Samples[3].Signals[vss.Latitude] += 1e-9 }, 0, 1},
		{"a value is gone", func(track *wire.Track) { delete(track.Samples[3].Signals, vss.Speed) }, 1, 0},
		{"a sample is gone", func(track *wire.Track) { track.Samples = append(track.Samples[:3], track.Samples[4:]...) }, 7, 0},
		{"a time is off", func(track *wire.Track) { track.Samples[3].Time = track.Samples[3].Time.Add(1) }, 7, 0},
		{"nothing is there", func(track *wire.Track) { track.Samples = nil }, 240 * 7, 0},
		{"more is there", func(track *wire.Track) {
			extra := wire.Sample{Time: track.Samples[0].Time.Add(1), Signals: map[string]float64{vss.Speed: 1}}
			track.Samples = append(track.Samples[:1:1], append([]wire.Sample{extra}, track.Samples[1:]...)...)
		}, 0, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			report, err := Run(t.Context(), Plan{URL: serve(t, spoil(c.change)), Source: trips(t, 1), Verify: true})
			back := report.ReadBack
			if err != nil || back.Missing != c.missing || back.Different != c.different || back.Equal != (c.missing+c.different == 0) || (len(back.Examples) > 0) == back.Equal {
				t.Errorf("%v %+v", err, back)
			}
		})
	}
}

// Every third request is turned away, and some answers are lost after the work
// is done.
func TestTurnedAwayIsTriedAgain(t *testing.T) {
	var count atomic.Int64
	url := serve(t, func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch count.Add(1) % 6 {
			case 2:
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(http.StatusTooManyRequests)
				fmt.Fprint(w, strings.Repeat("not now ", 1000))
			case 3:
				w.WriteHeader(http.StatusServiceUnavailable)
				fmt.Fprint(w, "not now")
			case 5:
				inner.ServeHTTP(httptest.NewRecorder(), r)
				panic(http.ErrAbortHandler)
			default:
				inner.ServeHTTP(w, r)
			}
		})
	})
	report, err := Run(t.Context(), Plan{URL: url, Source: trips(t, 4), Verify: true, Concurrency: 2, window: 100})
	if err != nil || report.Accepted != 960 || !report.ReadBack.Equal || report.Retries == 0 {
		t.Errorf("%v %s", err, text(report))
	}
}

// The database crashes in the middle of the writes and recovers. Every answer
// that was given must still be true.
func TestNothingAnsweredIsLostInACrash(t *testing.T) {
	own := storetest.Start()
	own.Require(t)
	defer own.Stop()
	s, err := store.Open(t.Context(), own.Database(t), 6)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	inner := api.New(s, "test", api.Options{})
	var writes atomic.Int64
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && writes.Add(1) == 20 {
			if err := errors.Join(own.Crash(), own.Resume()); err != nil {
				t.Error(err)
			}
		}
		inner.ServeHTTP(w, r)
	}))
	defer web.Close()
	source, err := telemetry.Generate(telemetry.Trips{Count: 60, Seed: 5})
	if err != nil {
		t.Fatal(err)
	}
	report, err := Run(t.Context(), Plan{URL: web.URL, Source: source, Verify: true, Concurrency: 4})
	if err != nil || report.Accepted != 60*240 || !report.ReadBack.Equal || report.Retries == 0 {
		t.Errorf("%v %s", err, text(report))
	}
}

func TestTrouble(t *testing.T) {
	answer := func(status int, body string) string {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/openapi.json" && status < 300 || r.Method == http.MethodPost && status >= 300 {
				w.WriteHeader(status)
			}
			fmt.Fprint(w, body)
		}))
		t.Cleanup(web.Close)
		return web.URL
	}
	const document = `{"paths":{"/v1/vehicles/{vin}/signals":{}}}`
	cases := []struct{ name, url, want string }{
		{"nothing there", "http://127.0.0.1:1", `nines up`},
		{"not a URL", "127.0.0.1:8080", "is not the URL of a service"},
		{"another service", answer(200, "hello"), "is not a vehicle service"},
		{"a service that refuses", answer(422, document), "422"},
	}
	for _, c := range cases {
		_, err := Run(t.Context(), Plan{URL: c.url, Source: trips(t, 1), Verify: true})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestCancelled(t *testing.T) {
	url := serve(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	// 1,000 seconds of pace lie between the rows; the first progress ends it.
	_, err := Run(ctx, Plan{URL: url, Source: trips(t, 1), Speed: 0.005, Every: time.Millisecond, Progress: func(p Progress) {
		if p.Rows > 0 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestPacer(t *testing.T) {
	clock, data := time.Unix(1000, 0), time.Unix(5, 0)
	p := pacer{speed: 60}
	steps := []struct {
		row, now, want time.Duration
	}{
		{0, 0, 0},
		{time.Minute, 0, time.Second},
		{time.Minute, 400 * time.Millisecond, 600 * time.Millisecond},
		{2 * time.Minute, 5 * time.Second, -3 * time.Second},
		{-time.Minute, 0, -time.Second},
	}
	for i, step := range steps {
		if got := p.wait(data.Add(step.row), clock.Add(step.now)); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
	if got := (&pacer{}).wait(data, clock); got != 0 {
		t.Errorf("without a pace: %v", got)
	}
}
