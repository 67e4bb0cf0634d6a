package drill

import (
	"slices"
	"testing"
	"time"

	"github.com/nines-ha/nines/drill/fault"
	"github.com/nines-ha/nines/drill/load"
	"github.com/nines-ha/nines/record"
)

var objective = record.Promise{Availability: 0.999, P99: 300 * time.Millisecond, Recovery: 30 * time.Second}

// Every fault is a drill, and every drill promises something that can be refuted.
func TestEveryFaultIsADrill(t *testing.T) {
	all := All()
	if len(all) != len(fault.All()) {
		t.Fatalf("%d drills of %d faults", len(all), len(fault.All()))
	}
	for _, d := range all {
		if d.Window < 10*time.Second {
			t.Errorf("%s judges %s", d.Name, d.Window)
		}
		if d.promise == nil {
			t.Errorf("%s promises nothing of its own", d.Name)
		}
		p := d.Promise(objective, record.Service{Replicas: 3, Least: 2})
		if !p.Writes || !p.Fresh || p.Slow != objective.P99 || (p.Recovery != objective.Recovery && d.Peak == 0) {
			t.Errorf("%s promises %+v", d.Name, p)
		}
	}
}

func TestPromise(t *testing.T) {
	service := record.Service{Replicas: 3, Least: 2}
	for _, test := range []struct {
		drill string
		want  func(p record.Promise) bool
	}{
		{"rolling-restart", func(p record.Promise) bool {
			return *p.Failed == 0 && p.P99 == graceful && p.Capacity == 2 && p.Restored
		}},
		{"node-drain", func(p record.Promise) bool {
			return *p.Failed == 0 && p.P99 == graceful && p.Capacity == 2 && p.Restored
		}},
		{"scale-down", func(p record.Promise) bool {
			return *p.Failed == 0 && p.P99 == graceful && p.Capacity == 0 && !p.Restored
		}},
		{"pod-kill", func(p record.Promise) bool { return p.Failed == nil && p.Availability == 0.999 && p.P99 == graceful }},
		{"apiserver-loss", func(p record.Promise) bool { return *p.Failed == 0 && p.P99 == objective.P99 }},
		{"zone-return", func(p record.Promise) bool { return *p.Failed == 0 }},
		{"zone-loss", func(p record.Promise) bool { return p.Availability == 0.999 && p.Capacity == 1 && p.Restored }},
		{"gray-pod", func(p record.Promise) bool {
			return p.Availability == 0.999 && p.P99 == objective.P99 && p.Ejected == ejected
		}},
		{"stalled-dependency", func(p record.Promise) bool { return p.Ejected == ejected && p.Failed == nil }},
		{"overload", func(p record.Promise) bool {
			return p.Availability == 0 && p.P99 == 0 && p.Goodput == 0.8 && p.Refusal == 100*time.Millisecond && p.Attempts == 1.2 && p.Recovery == 5*time.Second
		}},
		{"gateway-loss", func(p record.Promise) bool { return p.Availability == 0.999 && p.Restored }},
		{"istiod-loss", func(p record.Promise) bool { return *p.Failed == 0 && !p.Meshed }},
		{"locality", func(p record.Promise) bool {
			return *p.Failed == 0 && p.Local == 0.95 && p.Restored && p.P99 == objective.P99
		}},
		{"injector-loss", func(p record.Promise) bool { return *p.Failed == 0 && p.Meshed && p.Capacity == 2 }},
		{"plaintext-probe", func(p record.Promise) bool { return *p.Failed == 0 && p.Refused == fault.PlaintextProbes }},
		{"identity-probe", func(p record.Promise) bool { return *p.Failed == 0 && p.Refused == fault.IdentityProbes }},
		{"shaping", func(p record.Promise) bool { return *p.Failed == 0 && p.Shared != nil }},
		{"tracing", func(p record.Promise) bool { return p.Traced == 0.99 && p.Availability == 0.999 && p.Failed == nil }},
		{"database-stall", func(p record.Promise) bool {
			return p.Availability == 0 && p.P99 == 0 && p.Answer == answer && p.Writes
		}},
	} {
		d, err := Find(test.drill)
		if err != nil {
			t.Fatal(err)
		}
		if p := d.Promise(objective, service); !test.want(p) {
			t.Errorf("%s promises %+v", test.drill, p)
		}
	}
	tight := objective
	tight.P99 = 50 * time.Millisecond
	d, _ := Find("pod-kill")
	if p := d.Promise(tight, service); p.P99 != tight.P99 {
		t.Errorf("a tighter objective became %s", p.P99)
	}
}

func TestFindNothing(t *testing.T) {
	if _, err := Find("sunshine"); err == nil {
		t.Error("there is a drill called sunshine")
	}
}

func TestHoldKeepsOrder(t *testing.T) {
	var got string
	h := newHold(func(e record.Event) { got += e.Name })
	h.tell(record.Event{Name: "a"})
	h.tell(record.Event{Name: "b"})
	if got != "" {
		t.Errorf("%q was told before the header", got)
	}
	h.release()
	h.tell(record.Event{Name: "c"})
	if got != "abc" {
		t.Errorf("told %q", got)
	}
}

// A probe is told with who says that it was refused.
func TestViewOfProbes(t *testing.T) {
	var said []string
	v := newView(time.Now(), func(p Progress) { said = append(said, p.Text) })
	v.event(record.Event{Kind: record.Control, Name: "the way in", State: record.Answered, Text: "answered 200"})
	v.event(record.Event{Kind: record.Probe, Name: "plaintext", State: record.Refused, Text: "reset", Reason: "NR (log of a)"})
	want := []string{"the way in, control answered: answered 200", "plaintext, probe refused: reset; NR (log of a)"}
	if !slices.Equal(said, want) {
		t.Errorf("said %q", said)
	}
}

func TestView(t *testing.T) {
	var last Progress
	v := newView(time.Now(), func(p Progress) { last = p })
	v.phase(record.Phase{Name: record.Warm})
	v.request(&record.Request{Status: 503})
	v.phase(record.Phase{Name: record.Steady})
	for i := range 100 {
		v.request(&record.Request{Status: 200, Done: time.Duration(i+1) * time.Millisecond})
	}
	v.request(&record.Request{Error: record.Timeout, Done: time.Hour})
	v.request(&record.Request{Status: 503})
	v.second(record.Second{At: time.Second, Answered: 100, Failed: 2, InFlight: 7}, 3)
	if last.P99 != 99*time.Millisecond || last.Sent != 102 || last.Failed != 2 || last.Failing != 2 || last.Ready != 3 || last.Phase != record.Steady {
		t.Errorf("progress %+v", last)
	}
	v.second(record.Second{At: 2 * time.Second}, 3)
	if last.P99 != 0 {
		t.Errorf("a second later %+v", last)
	}
	v.request(&record.Request{ID: "a", Scheduled: time.Second, Done: 2 * time.Second, Error: record.Reset, Again: true})
	v.request(&record.Request{ID: "a.1", Of: "a", Retries: 1, Scheduled: 3 * time.Second, Done: 4 * time.Second, Status: 503, Again: true})
	v.request(&record.Request{ID: "a.2", Of: "a", Retries: 2, Scheduled: 5 * time.Second, Done: 6 * time.Second, Status: 200})
	v.second(record.Second{At: 3 * time.Second}, 3)
	if last.P99 != 5*time.Second || last.Sent != 103 || last.Failed != 2 || len(v.due) != 0 {
		t.Errorf("a request of three attempts makes it %+v", last)
	}
	v.request(&record.Request{Status: 503})
	if failed, most := v.failures(); failed != 3 || most != "status 503" {
		t.Errorf("%d failed, most with %s", failed, most)
	}
}

// A load begins with less, and its steps fill the window that is judged and
// nothing else.
func TestSchedule(t *testing.T) {
	plan := Plan{Drill: Drill{Window: 30 * time.Second}, Warm: 3 * time.Second, Steady: 8 * time.Second, Rate: 200, Arrivals: load.Constant}
	ramp := []load.Stage{{Rate: 50, Length: time.Second}, {Rate: 100, Length: time.Second}}
	want := append(slices.Clone(ramp), load.Stage{Rate: 200})
	if got := plan.schedule(); !slices.Equal(got.Stages, want) || got.Arrivals != load.Constant {
		t.Errorf("without steps %v, want %v", got, want)
	}
	plan.Steps = []float64{100, 400, 50}
	want = append(slices.Clone(ramp), []load.Stage{
		{Rate: 200, Length: 9 * time.Second},
		{Rate: 100, Length: 10 * time.Second}, {Rate: 400, Length: 10 * time.Second}, {Rate: 50, Length: 10 * time.Second},
		{Rate: 200},
	}...)
	if got := plan.schedule(); !slices.Equal(got.Stages, want) {
		t.Errorf("with steps %v, want %v", got.Stages, want)
	}
}

// The load of an overload is made of the plan's rate, and most of the window is
// its peak.
func TestOverload(t *testing.T) {
	d, err := Find("overload")
	if err != nil {
		t.Fatal(err)
	}
	plan := Plan{Drill: d, Rate: 50}
	plan.overload()
	if !slices.Equal(plan.Steps, []float64{500, 500, 25}) || plan.Rate != 25 || plan.Site.Overload != (fault.Overload{Serves: 100, Peak: 500, Length: 30 * time.Second}) {
		t.Errorf("%v a second, %v in the window, %+v", plan.Rate, plan.Steps, plan.Site.Overload)
	}
	if got := d.Highest(50); got != 500 {
		t.Errorf("at most %g a second", got)
	}
	other := Plan{Drill: Drill{Window: 30 * time.Second}, Rate: 50, Steps: []float64{10}}
	other.overload()
	if other.Rate != 50 || !slices.Equal(other.Steps, []float64{10}) || other.Drill.Highest(50) != 50 {
		t.Errorf("another drill sends %v, %v", other.Rate, other.Steps)
	}
}
