package record

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func header() *Header {
	return &Header{Version: Version, Drill: "pod-kill", Touches: []string{"delete pod <a>"}, Load: Load{Mix: map[string]float64{"write": 1}}}
}

// lines has every kind and most fields.
func lines() []Line {
	return []Line{
		{Header: header()},
		{Phase: &Phase{At: 1, Name: Warm}},
		{Request: &Request{ID: "a", Op: "write", Scheduled: 1, Taken: 2, Done: 3, Status: 200, Write: &Write{Entity: "v", Version: 7, Sum: "s", Acknowledged: true}}},
		{Request: &Request{ID: "b", Op: "read", Scheduled: 2, Done: 9, Error: Timeout, Detail: "no answer & <nothing>", Read: &Read{Entity: "v", Saw: 7}}},
		{Event: &Event{At: -5, Kind: Pod, Name: "p", State: "ready", Node: "n"}},
		{Event: &Event{At: 5, Kind: Backend, Name: "n", State: "down"}},
		{Flow: &Flow{Conn: "100.65.0.1:1", Node: "n"}},
		{Hop: &Hop{ID: "b", At: 3, Length: 5, Proxy: AtGateway, Pod: "g", Status: 503, Flags: []string{"UF", "URX"}, Upstream: "10.0.0.1:8080", Attempts: 3}},
		{Span: &Span{ID: "b", Span: "00f067aa0ba902b7", Parent: "53995c3f42cd8ad8", Place: AtGateway, Name: "write", At: 3, Length: 5, Failed: true}},
		{Second: &Second{At: 4, Scheduled: 2, CPU: 0.5}},
		{Stored: &Stored{Entity: "v", Version: 7, Sum: "s", Copies: 1}},
		{End: &End{At: 10, ReadBack: true}},
	}
}

func write(t *testing.T, all []Line) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "drill.jsonl")
	w, err := Create(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		if err := w.Write(l); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return name
}

func read(t *testing.T, name string) *Record {
	t.Helper()
	body, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := ReadFrom(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func TestRoundTrip(t *testing.T) {
	all := lines()
	name := write(t, all)
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	rec := read(t, name)
	want := &Record{
		Header: all[0].Header, Phases: []Phase{*all[1].Phase}, Requests: []Request{*all[2].Request, *all[3].Request},
		Events: []Event{*all[4].Event, *all[5].Event}, Flows: []Flow{*all[6].Flow}, Hops: []Hop{*all[7].Hop}, Spans: []Span{*all[8].Span}, Seconds: []Second{*all[9].Second},
		Stored: []Stored{*all[10].Stored}, End: all[11].End,
	}
	if !reflect.DeepEqual(rec, want) {
		t.Errorf("read %+v, want %+v", rec, want)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	body, _ := os.ReadFile(name)
	_, _ = z.Write(body)
	z.Close()
	if again, err := ReadFrom(&zipped); err != nil || !reflect.DeepEqual(again, want) {
		t.Errorf("gzip: %+v, %v", again, err)
	}
}

func TestEventsAreSorted(t *testing.T) {
	all := []Line{{Header: header()}, {Event: &Event{At: 9, Name: "late"}}, {Event: &Event{At: 3, Name: "a"}}, {Event: &Event{At: 3, Name: "b"}}}
	rec := read(t, write(t, all))
	if got := rec.Events[0].Name + rec.Events[1].Name + rec.Events[2].Name; got != "ablate" {
		t.Errorf("order %s", got)
	}
	if rec.End != nil || rec.Cut {
		t.Errorf("end %v, cut %v", rec.End, rec.Cut)
	}
}

// A drill that is killed leaves a file that ends anywhere.
func TestCutAnywhere(t *testing.T) {
	body, err := os.ReadFile(write(t, lines()))
	if err != nil {
		t.Fatal(err)
	}
	first := bytes.IndexByte(body, '\n') + 1
	for n := first; n < len(body); n++ {
		rec, err := ReadFrom(bytes.NewReader(body[:n]))
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		whole := body[n-1] == '\n' || body[n] == '\n'
		if rec.Cut == whole {
			t.Errorf("%d bytes, ending %q: cut is %v", n, body[max(0, n-9):n], rec.Cut)
		}
	}
}

func TestRefused(t *testing.T) {
	good, _ := json.Marshal(Line{Header: header()})
	for _, test := range []struct{ name, text, want string }{
		{"empty", "", "the record is empty"},
		{"no header", `{"end":{"at":1,"readBack":false}}` + "\n", "line 1 is no header"},
		{"other version", `{"header":{"version":9,"program":"v3"}}` + "\n", `line 1 says version 9, written by nines "v3"; this nines reads version 1`},
		{"two headers", string(good) + "\n" + string(good) + "\n", "line 2 is a second header"},
		{"no field", string(good) + "\n{}\n", "line 2 holds nothing"},
		{"two fields", string(good) + "\n" + `{"flow":{"conn":"a","node":"b"},"phase":{"at":1,"name":"warm"}}` + "\n", "line 2 holds 2 things (phase, flow)"},
		{"no JSON", string(good) + "\nhello\n", "line 2 is not understood"},
		{"after the end", string(good) + "\n" + `{"end":{"at":1,"readBack":false}}` + "\n" + `{"phase":{"at":1,"name":"warm"}}` + "\n", "line 3 comes after the end"},
		{"long", string(good) + "\n" + `{"phase":{"name":"` + strings.Repeat("x", MaxLine) + `"}}` + "\n", "line 2 is longer than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := ReadFrom(strings.NewReader(test.text)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestUnknownFieldsAreLeft(t *testing.T) {
	text := `{"header":{"version":1,"drill":"x","tomorrow":true}}` + "\n" + `{"phase":{"at":1,"name":"warm","mood":"good"}}` + "\n"
	rec, err := ReadFrom(strings.NewReader(text))
	if err != nil || rec.Header.Drill != "x" || len(rec.Phases) != 1 {
		t.Errorf("%+v, %v", rec, err)
	}
}

func TestWriterRefuses(t *testing.T) {
	w, err := Create(filepath.Join(t.TempDir(), "r"))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []Line{{}, {Phase: &Phase{}, Flow: &Flow{}}} {
		if err := w.Write(l); err == nil {
			t.Errorf("%+v was written", l)
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := w.Write(Line{Phase: &Phase{}}); err == nil {
		t.Error("a closed record was written to")
	}
	if _, err := Create(filepath.Join(t.TempDir(), "no", "such")); err == nil {
		t.Error("a record was made where there is no folder")
	}
}

func TestManyWriters(t *testing.T) {
	name := filepath.Join(t.TempDir(), "r")
	w, err := Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(Line{Header: header()}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				if err := w.Write(Line{Request: &Request{ID: "x"}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if rec := read(t, name); len(rec.Requests) != 4000 || rec.Cut {
		t.Errorf("%d requests, cut %v", len(rec.Requests), rec.Cut)
	}
}

// What was written reaches the file while the drill goes on.
func TestFlushes(t *testing.T) {
	name := filepath.Join(t.TempDir(), "r")
	w, err := Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Write(Line{Header: header()}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if info, err := os.Stat(name); err == nil && info.Size() > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing reached the file")
		}
	}
}

// The format's document names every field.
func TestDocumented(t *testing.T) {
	document, err := os.ReadFile("../docs/record.md")
	if err != nil {
		t.Fatal(err)
	}
	var walk func(at reflect.Type)
	seen := map[reflect.Type]bool{}
	walk = func(at reflect.Type) {
		for at.Kind() == reflect.Pointer || at.Kind() == reflect.Slice {
			at = at.Elem()
		}
		if at.Kind() != reflect.Struct || at == reflect.TypeFor[time.Time]() || seen[at] {
			return
		}
		seen[at] = true
		for i := range at.NumField() {
			name, _, _ := strings.Cut(at.Field(i).Tag.Get("json"), ",")
			if !strings.Contains(string(document), "`"+name+"`") {
				t.Errorf("docs/record.md does not say what %q of %s is", name, at.Name())
			}
			walk(at.Field(i).Type)
		}
	}
	walk(reflect.TypeFor[Line]())
}

func FuzzReadFrom(f *testing.F) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	for _, l := range lines() {
		_ = e.Encode(l)
	}
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:b.Len()/2])
	f.Add([]byte{0x1f, 0x8b, 8})
	f.Fuzz(func(t *testing.T, body []byte) {
		rec, err := ReadFrom(bytes.NewReader(body))
		if err == nil && rec.Header == nil {
			t.Error("a record without a header")
		}
	})
}

// The load writes a line for each request, 20,000 a second and more, on part of a
// core that it also needs for itself.
func BenchmarkWrite(b *testing.B) {
	for _, name := range []string{"plain", "packed.gz"} {
		b.Run(name, func(b *testing.B) {
			w, err := Create(filepath.Join(b.TempDir(), name))
			if err != nil {
				b.Fatal(err)
			}
			defer w.Close()
			line := lines()[2]
			line.Request.Conn, line.Request.Pod, line.Request.Node = "100.65.0.1:40000", "vehicle-6f584d4b65-cbf6x", "westeurope-1-1"
			b.ReportAllocs()
			for b.Loop() {
				if err := w.Write(line); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReadFrom(b *testing.B) {
	var file bytes.Buffer
	e := json.NewEncoder(&file)
	all := lines()
	_ = e.Encode(all[0])
	for range 1000 {
		_ = e.Encode(all[2])
	}
	b.ReportAllocs()
	b.SetBytes(int64(file.Len()))
	for b.Loop() {
		if _, err := ReadFrom(bytes.NewReader(file.Bytes())); err != nil {
			b.Fatal(err)
		}
	}
}
