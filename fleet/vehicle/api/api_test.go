package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nines-ha/nines/fleet/vehicle/store"
	"github.com/nines-ha/nines/fleet/vehicle/storetest"
	"github.com/nines-ha/nines/fleet/vehicle/wire"
	"github.com/nines-ha/nines/fleet/vss"
)

var (
	server *storetest.Server
	update = flag.Bool("update", false, "rewrite the golden files")
)

func TestMain(m *testing.M) {
	flag.Parse()
	server = storetest.Start()
	code := m.Run()
	if err := server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

const car = "0SYTESTSX00000001"

func serve(t testing.TB, options Options) *client {
	t.Helper()
	s, err := store.Open(t.Context(), server.Database(t), 6)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(New(s, "test", options))
	t.Cleanup(web.Close)
	return &client{t, web.URL}
}

type client struct {
	t   testing.TB
	url string
}

func (c *client) do(method, path, body string) (int, http.Header, string) {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(answer)
}

// get reads a 200 into a value.
func (c *client) get(path string, into any) {
	c.t.Helper()
	status, _, answer := c.do(http.MethodGet, path, "")
	if status != http.StatusOK {
		c.t.Fatalf("GET %s: %d %s", path, status, answer)
	}
	decoder := json.NewDecoder(strings.NewReader(answer))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) post(vin, body string) wire.Receipt {
	c.t.Helper()
	status, _, answer := c.do(http.MethodPost, "/v1/vehicles/"+vin+"/signals", body)
	if status != http.StatusOK {
		c.t.Fatalf("POST %s: %d %s", body, status, answer)
	}
	var receipt wire.Receipt
	if err := json.Unmarshal([]byte(answer), &receipt); err != nil {
		c.t.Fatal(err)
	}
	return receipt
}

func TestImpossibleValuesDoNotCostTheRest(t *testing.T) {
	c := serve(t, Options{})
	future := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	receipt := c.post(car, `{"samples":[
		{"time":"2024-05-01T12:00:00.000000001Z","signals":{"Vehicle.Speed":50.25,"Vehicle.CurrentLocation.Latitude":48.1,"Vehicle.CurrentLocation.Longitude":11.5}},
		{"time":"2024-05-01T14:00:01+02:00","signals":{"Vehicle.Speed":9999,"Vehicle.Exterior.Humidity":55,"Vehicle.Made.Up":1}},
		{"time":"2024-05-01T12:00:02Z","signals":{"Vehicle.Speed":"fast","Vehicle.Exterior.AirTemperature":null,"Vehicle.CurrentLocation.Latitude":48.2,"Vehicle.CurrentLocation.Longitude":1555.6}},
		{"time":"2024-05-01T12:00:03Z","signals":{"Vehicle.Speed":1e999,"Vehicle.Powertrain.Transmission.SelectedGear":1.5}},
		{"time":"yesterday","signals":{"Vehicle.Speed":1}},
		{"time":"`+future+`","signals":{"Vehicle.Speed":1}},
		{"time":"1979-01-01T00:00:00Z","signals":{"Vehicle.Speed":1}},
		{"time":"2024-05-01T12:00:04Z","signals":{}},
		{"signals":{"Vehicle.Speed":1}},
		{"time":"2024-05-01T12:00:05Z","signals":{"Vehicle.CurrentLocation.Latitude":48.2,"Vehicle.Speed":0}}
	]}`)
	var got []string
	for _, r := range receipt.Refused {
		got = append(got, fmt.Sprintf("%d %s %s", r.Sample, r.Code, r.Signal))
	}
	want := []string{
		"1 unknown_signal Vehicle.Made.Up", "1 out_of_range Vehicle.Speed",
		"2 out_of_range Vehicle.CurrentLocation.Longitude", "2 not_a_number Vehicle.Exterior.AirTemperature", "2 not_a_number Vehicle.Speed", "2 half_position Vehicle.CurrentLocation.Latitude",
		"3 not_a_number Vehicle.Speed", "3 out_of_range Vehicle.Powertrain.Transmission.SelectedGear",
		"4 bad_time ", "5 bad_time ", "6 bad_time ", "7 no_signals ", "8 bad_time ",
		"9 half_position Vehicle.CurrentLocation.Latitude",
	}
	want[6], want[7] = "3 out_of_range Vehicle.Powertrain.Transmission.SelectedGear", "3 out_of_range Vehicle.Speed"
	if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
		t.Errorf("refused\n%s\nwant\n%s", a, b)
	}
	if receipt.Samples != 10 || receipt.Accepted != 3 || receipt.Duplicates != 0 {
		t.Errorf("receipt %+v", receipt)
	}
	var track wire.Track
	c.get("/v1/vehicles/"+car+"/track", &track)
	body, _ := json.Marshal(track)
	wantTrack := `{"vin":"` + car + `","samples":[` +
		`{"time":"2024-05-01T12:00:00.000000001Z","signals":{"Vehicle.CurrentLocation.Latitude":48.1,"Vehicle.CurrentLocation.Longitude":11.5,"Vehicle.Speed":50.25}},` +
		`{"time":"2024-05-01T12:00:01Z","signals":{"Vehicle.Exterior.Humidity":55}},` +
		`{"time":"2024-05-01T12:00:05Z","signals":{"Vehicle.Speed":0}}]}`
	if string(body) != wantTrack {
		t.Errorf("track\n%s\nwant\n%s", body, wantTrack)
	}
}

func TestRepeatingIsSafeAndSaysSo(t *testing.T) {
	c := serve(t, Options{})
	const batch = `{"samples":[{"time":"2024-05-01T12:00:00Z","signals":{"Vehicle.Speed":1}},{"time":"2024-05-01T12:00:01Z","signals":{"Vehicle.Speed":2}}]}`
	if r := c.post(car, batch); r.Accepted != 2 || r.Duplicates != 0 {
		t.Errorf("first: %+v", r)
	}
	if r := c.post(car, batch); r.Accepted != 2 || r.Duplicates != 2 || len(r.Refused) != 0 {
		t.Errorf("again: %+v", r)
	}
	r := c.post(car, `{"samples":[{"time":"2024-05-01T12:00:00Z","signals":{"Vehicle.Speed":7}},{"time":"2024-05-01T12:00:01Z","signals":{"Vehicle.Speed":8,"Vehicle.Exterior.Humidity":1}}]}`)
	if r.Accepted != 1 || len(r.Refused) != 2 || r.Refused[0].Code != wire.Conflict || r.Refused[0].Sample != 0 || r.Refused[1].Sample != 1 {
		t.Errorf("other values: %+v", r)
	}
	var state wire.State
	c.get("/v1/vehicles/"+car, &state)
	if got := state.Signals[vss.Speed]; got.Value != 2 || got.Unit != "km/h" || !state.Synthetic {
		t.Errorf("state %+v", state)
	}
}

func TestRefusedRequests(t *testing.T) {
	c := serve(t, Options{})
	c.post(car, `{"samples":[{"time":"2024-05-01T12:00:00Z","signals":{"Vehicle.Speed":1}}]}`)
	path := "/v1/vehicles/" + car
	many := `{"samples":[` + strings.Repeat(`{"time":"2024-05-01T12:00:00Z","signals":{"Vehicle.Speed":1}},`, wire.MaxSamples) + `{}]}`
	cases := []struct {
		name, method, path, body string
		status                   int
		says                     string
	}{
		{"not JSON", "POST", path + "/signals", "speed=1", 400, "not a batch"},
		{"cut off", "POST", path + "/signals", `{"samples":[{"time":"2024`, 400, "sample 0"},
		{"other field", "POST", path + "/signals", `{"signals":[]}`, 400, "signals comes where samples should"},
		{"unknown field of a sample", "POST", path + "/signals", `{"samples":[{"tmie":1}]}`, 400, "tmie"},
		{"two bodies", "POST", path + "/signals", `{"samples":[{}]}{}`, 400, "after it"},
		{"no body", "POST", path + "/signals", "", 400, ""},
		{"no samples", "POST", path + "/signals", `{"samples":[]}`, 422, "1 to 1000"},
		{"too many samples", "POST", path + "/signals", many, 422, "1 to 1000"},
		{"too large", "POST", path + "/signals", `{"samples":[{"time":"` + strings.Repeat("x", wire.MaxBody) + `"}]}`, 413, ""},
		{"bad VIN", "POST", "/v1/vehicles/0SYTESTS000000001/signals", `{"samples":[{}]}`, 422, "check digit"},
		{"bad VIN of a state", "GET", "/v1/vehicles/wvwzzz1jzxw000001", "", 422, "in capitals"},
		{"unknown vehicle", "GET", "/v1/vehicles/0SYTESTS100000002", "", 404, "never reported"},
		{"unknown vehicle's track", "GET", "/v1/vehicles/0SYTESTS100000002/track", "", 404, "never reported"},
		{"bad VIN of a track", "GET", "/v1/vehicles/0SYTESTS1/track", "", 422, ""},
		{"bad time", "GET", path + "/track?from=noon", "", 422, "RFC 3339"},
		{"limit too high", "GET", path + "/track?limit=1001", "", 422, "limit"},
		{"limit too low", "GET", path + "/track?limit=0", "", 422, "limit"},
		{"bad cursor", "GET", path + "/track?cursor=x", "", 422, "cursor"},
		{"misspelt parameter", "GET", path + "/track?form=2024-05-01T12:00:00Z", "", 422, "form"},
		{"no box", "GET", "/v1/vehicles", "", 422, "bbox"},
		{"box of three", "GET", "/v1/vehicles?bbox=1,2,3", "", 422, "four numbers"},
		{"box of words", "GET", "/v1/vehicles?bbox=a,b,c,d", "", 422, "not a number"},
		{"box off the Earth", "GET", "/v1/vehicles?bbox=-181,0,0,0", "", 422, "-180 to 180"},
		{"box upside down", "GET", "/v1/vehicles?bbox=0,10,1,5", "", 422, "minLat is above maxLat"},
		{"area with a bad cursor", "GET", "/v1/vehicles?bbox=0,0,1,1&cursor=x", "", 422, "cursor"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			status, header, answer := c.do(tc.method, tc.path, tc.body)
			if status != tc.status || !strings.Contains(answer, tc.says) {
				t.Errorf("%d %s, want %d with %q", status, answer, tc.status, tc.says)
			}
			if got := header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("content type %q", got)
			}
			var problem struct {
				Status int
				Title  string
				Errors []struct{ Location string }
			}
			if err := json.Unmarshal([]byte(answer), &problem); err != nil || problem.Status != tc.status || problem.Title == "" {
				t.Errorf("not a problem: %v %s", err, answer)
			}
			if len(problem.Errors) > 1 {
				t.Errorf("one mistake is told %d times: %s", len(problem.Errors), answer)
			}
			if len(answer) > 2000 {
				t.Errorf("an answer of %d bytes", len(answer))
			}
		})
	}
	status, _, answer := c.do("POST", path+"/signals", `{"samples":[{"time":"2024-05-01T12:00:00Z","signals":{`+strings.Repeat(`"`+strings.Repeat("n", 1000)+`":1,`, 1)+`"Vehicle.Speed":1}}]}`)
	if status != 200 || strings.Contains(answer, strings.Repeat("n", 100)) {
		t.Errorf("a long name is given back whole: %d %s", status, answer)
	}
}

func TestTrackPages(t *testing.T) {
	c := serve(t, Options{})
	var samples []string
	for i := range 7 {
		samples = append(samples, fmt.Sprintf(`{"time":"2024-05-01T12:00:0%dZ","signals":{"Vehicle.Speed":%d}}`, i, i))
	}
	c.post(car, `{"samples":[`+strings.Join(samples, ",")+`]}`)
	cases := []struct {
		query string
		want  string
		pages int
	}{
		{"limit=3", "0123456", 3},
		{"limit=7", "0123456", 1},
		{"limit=2&from=2024-05-01T12:00:01Z&to=2024-05-01T12:00:05Z", "1234", 2},
		{"from=" + url.QueryEscape("2024-05-01T14:00:06+02:00"), "6", 1},
		{"to=2024-05-01T12:00:00Z", "", 1},
	}
	for _, tc := range cases {
		got, pages, cursor := "", 0, ""
		for pages < 10 {
			var track wire.Track
			query := tc.query
			if cursor != "" {
				query += "&cursor=" + cursor
			}
			c.get("/v1/vehicles/"+car+"/track?"+query, &track)
			pages++
			for _, sample := range track.Samples {
				got += fmt.Sprint(sample.Signals[vss.Speed])
			}
			if cursor = track.Next; cursor == "" {
				break
			}
		}
		if got != tc.want || pages != tc.pages {
			t.Errorf("%s: %q in %d pages, want %q in %d", tc.query, got, pages, tc.want, tc.pages)
		}
	}
}

func TestAreaPages(t *testing.T) {
	c := serve(t, Options{})
	for i, place := range [][2]float64{{10, 179.5}, {10, -179.5}, {10, 0}} {
		vin, err := vss.SyntheticVIN("TESTS", fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		c.post(string(vin), fmt.Sprintf(`{"samples":[{"time":"2024-05-01T12:00:00Z","signals":{%q:%v,%q:%v}}]}`, vss.Latitude, place[0], vss.Longitude, place[1]))
	}
	var all, first, second wire.Area
	c.get("/v1/vehicles?bbox=170,0,-170,20", &all)
	c.get("/v1/vehicles?bbox=170,0,-170,20&limit=1", &first)
	c.get("/v1/vehicles?bbox=170,0,-170,20&limit=1&cursor="+first.Next, &second)
	if len(all.Vehicles) != 2 || all.Next != "" || len(first.Vehicles) != 1 || len(second.Vehicles) != 1 || second.Next != "" {
		t.Errorf("%+v\n%+v\n%+v", all, first, second)
	}
	if first.Vehicles[0] != all.Vehicles[0] || second.Vehicles[0] != all.Vehicles[1] {
		t.Errorf("pages %+v %+v are not %+v", first, second, all)
	}
}

func TestOneVehicleCannotTakeAll(t *testing.T) {
	c := serve(t, Options{Rate: 0.001, Burst: 2})
	const batch = `{"samples":[{"time":"2024-05-01T12:00:00Z","signals":{"Vehicle.Speed":1}}]}`
	c.post(car, batch)
	c.post(car, batch)
	status, header, answer := c.do("POST", "/v1/vehicles/"+car+"/signals", batch)
	if status != http.StatusTooManyRequests || header.Get("Retry-After") == "" || header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("third: %d %v %s", status, header, answer)
	}
	c.post("0SYTESTS300000003", batch)
	var state wire.State
	c.get("/v1/vehicles/"+car, &state)
}

func TestLimitsRefillAndForget(t *testing.T) {
	l := newLimits(10, 2)
	now := time.Unix(0, 0)
	steps := []struct {
		after time.Duration
		free  bool
	}{{0, true}, {0, true}, {0, false}, {50 * time.Millisecond, false}, {100 * time.Millisecond, true}, {100 * time.Millisecond, false}, {time.Hour, true}}
	for i, step := range steps {
		if wait := l.wait(car, now.Add(step.after)); (wait == 0) != step.free {
			t.Errorf("step %d: wait %v", i, wait)
		}
	}
	for i := range rememberedVehicles + 10 {
		l.wait(vss.VIN(fmt.Sprint(i)), now)
	}
	if l.known.Len() != rememberedVehicles {
		t.Errorf("%d vehicles are remembered", l.known.Len())
	}
}

func TestStoreTrouble(t *testing.T) {
	own := storetest.Start()
	own.Require(t)
	defer own.Stop()
	s, err := store.Open(t.Context(), own.Database(t), 2)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	web := httptest.NewServer(New(s, "test", Options{}))
	defer web.Close()
	c := &client{t, web.URL}
	status, _, answer := c.do("GET", "/v1/vehicles/"+car, "")
	if status != 500 || strings.Contains(answer, "relation") {
		t.Errorf("no schema: %d %s", status, answer)
	}
	if err := own.Pause(); err != nil {
		t.Fatal(err)
	}
	status, header, answer := c.do("POST", "/v1/vehicles/"+car+"/signals", `{"samples":[{"time":"2024-05-01T12:00:00Z","signals":{"Vehicle.Speed":1}}]}`)
	if status != 503 || header.Get("Retry-After") != retryAfter || strings.Contains(answer, "127.0.0.1") {
		t.Errorf("no server: %d %v %s", status, header, answer)
	}
}

func TestDocumentIsThePublishedOne(t *testing.T) {
	web := httptest.NewServer(New(nil, "test", Options{}))
	defer web.Close()
	c := &client{t, web.URL}
	status, _, answer := c.do("GET", "/openapi.json", "")
	if status != 200 || !strings.Contains(answer, `"openapi":"3.1.0"`) {
		t.Fatalf("%d %.200s", status, answer)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, []byte(answer), "", "  "); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "openapi.json")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, indented.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytes.TrimSpace(want), bytes.TrimSpace(indented.Bytes())) {
		t.Errorf("the API changed; look at the difference with: go test ./fleet/vehicle/api -update && git diff")
	}
}

func FuzzReadBatch(f *testing.F) {
	f.Add([]byte(`{"samples":[{"time":"2024-05-01T12:00:00Z","signals":{"Vehicle.Speed":1}}]}`))
	f.Add([]byte(`{"samples":[{"time":1,"signals":{"Vehicle.CurrentLocation.Latitude":1e999}},null]}`))
	h := &handler{signals: vss.Lookup()}
	f.Fuzz(func(t *testing.T, body []byte) {
		batch, err := readBatch(body)
		if err != nil {
			return
		}
		var receipt wire.Receipt
		samples, places := h.examine(batch, &receipt)
		if len(samples) != len(places) || len(samples) > len(batch) {
			t.Fatalf("%d samples from %d places of %d", len(samples), len(places), len(batch))
		}
		if len(samples) < len(batch) && len(receipt.Refused) == 0 {
			t.Fatal("a sample went without a word")
		}
		for _, sample := range samples {
			_, lat := sample.Values[vss.Latitude]
			_, lon := sample.Values[vss.Longitude]
			if lat != lon || len(sample.Values) == 0 {
				t.Fatalf("sample %v", sample)
			}
			for name, value := range sample.Values {
				if err := h.signals[name].Check(value); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
