package store

import (
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/nines-ha/nines/fleet/vehicle/storetest"
	"github.com/nines-ha/nines/fleet/vss"
	"github.com/nines-ha/nines/service"
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

func open(t testing.TB, access func() (service.StoreAccess, error)) *Store {
	t.Helper()
	s, err := Open(t.Context(), access, 6)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func fresh(t testing.TB) *Store {
	t.Helper()
	s := open(t, server.Database(t))
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func vin(t testing.TB, number int) vss.VIN {
	t.Helper()
	vin, err := vss.SyntheticVIN("TESTS", fmt.Sprintf("%08d", number))
	if err != nil {
		t.Fatal(err)
	}
	return vin
}

var start = time.Date(2024, 5, 1, 12, 0, 0, 123456789, time.UTC)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

func sample(seconds int, values map[string]float64) Sample { return Sample{at(seconds), values} }

func ingest(t testing.TB, s *Store, vin vss.VIN, samples ...Sample) []Outcome {
	t.Helper()
	outcomes, err := s.Ingest(t.Context(), vin, samples)
	if err != nil {
		t.Fatal(err)
	}
	return outcomes
}

func TestColumnsAreTheCatalogue(t *testing.T) {
	var ours, theirs []string
	for _, c := range columns() {
		ours = append(ours, c.signal)
	}
	for _, s := range vss.Catalogue() {
		theirs = append(theirs, s.Name)
	}
	if !slices.Equal(ours, theirs) {
		t.Errorf("columns hold %v\nthe catalogue has %v", ours, theirs)
	}
}

func TestEverySignalIsStoredExactly(t *testing.T) {
	s, v := fresh(t), vin(t, 1)
	values := map[string]float64{}
	for i, signal := range vss.Catalogue() {
		values[signal.Name] = signal.Min + (signal.Max-signal.Min)*float64(i+1)/math.Pi/10
	}
	ingest(t, s, v, Sample{start, values})
	track, err := s.Track(t.Context(), v, time.Time{}, time.Time{}, 10)
	if err != nil {
		t.Fatal(err)
	}
	if want := []Sample{{start, values}}; !reflect.DeepEqual(track, want) {
		t.Errorf("read back\n%v\nwant\n%v", track, want)
	}
	state, err := s.State(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range values {
		if got := state[name]; got.Value != value || !got.Time.Equal(start) {
			t.Errorf("%s is %v at %v, want %v at %v", name, got.Value, got.Time, value, start)
		}
	}
}

func TestRepeatedAndConflictingSamples(t *testing.T) {
	s, v := fresh(t), vin(t, 1)
	first := sample(0, map[string]float64{vss.Speed: 10, vss.Humidity: 50})
	steps := []struct {
		name string
		sent []Sample
		want []Outcome
	}{
		{"new", []Sample{first}, []Outcome{{Stored: 2}}},
		{"the same again", []Sample{first}, []Outcome{{Held: 2}}},
		{"twice in one batch", []Sample{sample(1, map[string]float64{vss.Speed: 11}), sample(1, map[string]float64{vss.Speed: 11})}, []Outcome{{Stored: 1}, {Held: 1}}},
		{"two values in one batch", []Sample{sample(2, map[string]float64{vss.Speed: 12}), sample(2, map[string]float64{vss.Speed: 13})},
			[]Outcome{{Stored: 1}, {Conflicts: []Conflict{{vss.Speed, 13, 12}}}}},
		{"other value", []Sample{sample(0, map[string]float64{vss.Speed: 99, vss.Humidity: 50})}, []Outcome{{Held: 1, Conflicts: []Conflict{{vss.Speed, 99, 10}}}}},
		{"more signals at the same time", []Sample{sample(0, map[string]float64{vss.Altitude: 3, vss.Speed: 10})}, []Outcome{{Stored: 1, Held: 1}}},
		{"a nanosecond later is another sample", []Sample{{start.Add(1), map[string]float64{vss.Speed: 20}}}, []Outcome{{Stored: 1}}},
		{"nothing", []Sample{}, []Outcome{}},
	}
	for _, step := range steps {
		if got := ingest(t, s, v, step.sent...); !reflect.DeepEqual(got, step.want) {
			t.Errorf("%s: got %+v, want %+v", step.name, got, step.want)
		}
	}
	track, err := s.Track(t.Context(), v, time.Time{}, time.Time{}, 100)
	want := []Sample{
		sample(0, map[string]float64{vss.Speed: 10, vss.Humidity: 50, vss.Altitude: 3}),
		{start.Add(1), map[string]float64{vss.Speed: 20}},
		sample(1, map[string]float64{vss.Speed: 11}),
		sample(2, map[string]float64{vss.Speed: 12}),
	}
	if err != nil || !reflect.DeepEqual(track, want) {
		t.Errorf("track %v, %v\nwant %v", track, err, want)
	}
}

func TestStateTakesTheNewestWhateverTheOrder(t *testing.T) {
	s, v := fresh(t), vin(t, 1)
	place := func(lat, lon float64) map[string]float64 {
		return map[string]float64{vss.Latitude: lat, vss.Longitude: lon}
	}
	ingest(t, s, v, sample(20, place(2, 2)), sample(10, place(1, 1)))
	ingest(t, s, v, sample(30, map[string]float64{vss.Speed: 30}))
	ingest(t, s, v, sample(5, map[string]float64{vss.Speed: 5, vss.Humidity: 40, vss.Latitude: 0.5, vss.Longitude: 0.5}))
	state, err := s.State(t.Context(), v)
	want := map[string]Value{
		vss.Latitude: {2, at(20)}, vss.Longitude: {2, at(20)}, vss.Speed: {30, at(30)}, vss.Humidity: {40, at(5)},
	}
	if err != nil || !reflect.DeepEqual(state, want) {
		t.Errorf("state %v, %v\nwant %v", state, err, want)
	}
	places, err := s.Within(t.Context(), Box{-180, -90, 180, 90}, "", 10)
	if want := []Place{{v, 2, 2, at(20)}}; err != nil || !reflect.DeepEqual(places, want) {
		t.Errorf("places %v, %v, want %v", places, err, want)
	}
}

func TestUnknownVehicle(t *testing.T) {
	s := fresh(t)
	if _, err := s.State(t.Context(), vin(t, 1)); !errors.Is(err, ErrUnknownVehicle) {
		t.Errorf("state: %v", err)
	}
	if _, err := s.Track(t.Context(), vin(t, 1), time.Time{}, time.Time{}, 1); !errors.Is(err, ErrUnknownVehicle) {
		t.Errorf("track: %v", err)
	}
	ingest(t, s, vin(t, 1), sample(0, map[string]float64{vss.Speed: 1}))
	if track, err := s.Track(t.Context(), vin(t, 1), at(1), time.Time{}, 1); err != nil || len(track) != 0 {
		t.Errorf("nothing in the range: %v, %v", track, err)
	}
}

func TestTrackRangeAndPages(t *testing.T) {
	s, v := fresh(t), vin(t, 1)
	var all []Sample
	for i := range 10 {
		all = append(all, sample(i, map[string]float64{vss.Speed: float64(i)}))
	}
	ingest(t, s, v, all...)
	part, err := s.Track(t.Context(), v, at(2), at(5), 100)
	if err != nil || !reflect.DeepEqual(part, all[2:5]) {
		t.Errorf("from is included and before is not: %v, %v", part, err)
	}
	var paged []Sample
	var from time.Time
	for range 4 {
		page, err := s.Track(t.Context(), v, from, time.Time{}, 3)
		if err != nil {
			t.Fatal(err)
		}
		paged = append(paged, page...)
		from = page[len(page)-1].Time.Add(1)
	}
	if !reflect.DeepEqual(paged, all) {
		t.Errorf("pages give %v", paged)
	}
}

func TestWithin(t *testing.T) {
	s := fresh(t)
	for i, p := range [][2]float64{{10, 20}, {10, 179.5}, {10, -179.5}, {-10, 20}, {90, 0}, {10, 180}} {
		ingest(t, s, vin(t, i), sample(0, map[string]float64{vss.Latitude: p[0], vss.Longitude: p[1]}))
	}
	ingest(t, s, vin(t, 99), sample(0, map[string]float64{vss.Speed: 1})) // has no position
	cases := []struct {
		name string
		box  Box
		want []int
	}{
		{"whole Earth", Box{-180, -90, 180, 90}, []int{0, 1, 2, 3, 4, 5}},
		{"edges are inside", Box{20, 10, 20, 10}, []int{0}},
		{"just outside", Box{20.000001, 9, 21, 11}, nil},
		{"across the 180th meridian", Box{179, 0, -179, 20}, []int{1, 2, 5}},
		{"the long way round", Box{-179, 0, 179, 20}, []int{0}},
		{"south", Box{-180, -90, 180, 0}, []int{3}},
	}
	for _, c := range cases {
		var want []vss.VIN
		for _, i := range c.want {
			want = append(want, vin(t, i))
		}
		slices.Sort(want)
		var got []vss.VIN
		for len(got) <= len(want) { // pages of one
			after := vss.VIN("")
			if len(got) > 0 {
				after = got[len(got)-1]
			}
			places, err := s.Within(t.Context(), c.box, after, 1)
			if err != nil {
				t.Fatal(err)
			}
			if len(places) == 0 {
				break
			}
			got = append(got, places[0].VIN)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", c.name, got, want)
		}
	}
}

func TestAreaIsSearchedByIndex(t *testing.T) {
	s := fresh(t)
	_, err := s.pool.Exec(t.Context(), `
		INSERT INTO vehicle (vin) SELECT lpad(i::text, 17, '0') FROM generate_series(1, 20000) i;
		INSERT INTO last_position SELECT id, point(random() * 360 - 180, random() * 180 - 90), 0 FROM vehicle;
		ANALYZE`)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := s.pool.Query(t.Context(), "EXPLAIN SELECT * FROM last_position WHERE place <@ box(point(10, 10), point(11, 11)) OR place <@ box(point(20, 10), point(21, 11))")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if text := strings.Join(plan, "\n"); err != nil || !strings.Contains(text, "last_position_place") {
		t.Errorf("%v\n%s", err, text)
	}
}

// The writers overlap in vehicle and time and disagree; in the end one value
// stands for each time, every writer was told the truth about it, and the state
// is the newest.
func TestConcurrentWritersOfOneVehicle(t *testing.T) {
	const writers, rounds = 8, 10
	s, v := fresh(t), vin(t, 1)
	var mu sync.Mutex
	won := map[int64]float64{}
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for r := range rounds {
				mine := float64(w)
				outcomes, err := s.Ingest(t.Context(), v, []Sample{sample(r, map[string]float64{vss.Speed: mine}), sample(r+1, map[string]float64{vss.Speed: mine})})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for i, outcome := range outcomes {
					if outcome.Stored == 1 {
						key := at(r + i).UnixNano()
						if other, twice := won[key]; twice {
							t.Errorf("%v and %v were both told that they were first at %d", other, mine, r+i)
						}
						won[key] = mine
					}
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	track, err := s.Track(t.Context(), v, time.Time{}, time.Time{}, 100)
	if err != nil || len(track) != rounds+1 {
		t.Fatalf("%d samples, %v; want %d", len(track), err, rounds+1)
	}
	for _, got := range track {
		if got.Values[vss.Speed] != won[got.Time.UnixNano()] {
			t.Errorf("at %v holds %v, the first was %v", got.Time, got.Values[vss.Speed], won[got.Time.UnixNano()])
		}
	}
	state, err := s.State(t.Context(), v)
	last := track[len(track)-1]
	if err != nil || state[vss.Speed] != (Value{last.Values[vss.Speed], last.Time}) {
		t.Errorf("state %v, %v; want %v", state, err, last)
	}
}

func BenchmarkIngest(b *testing.B) {
	for _, size := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s, v := fresh(b), vin(b, 1)
			samples := make([]Sample, size)
			next := 0
			for b.Loop() {
				for i := range samples {
					samples[i] = sample(next, map[string]float64{vss.Speed: 1, vss.Latitude: 2, vss.Longitude: 3})
					next++
				}
				ingest(b, s, v, samples...)
			}
			b.ReportMetric(float64(next)/b.Elapsed().Seconds(), "samples/s")
		})
	}
}
