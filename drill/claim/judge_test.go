package claim

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nines-ha/nines/record"
)

// A refuted claim is worth something only if the evidence is.
func TestDoubts(t *testing.T) {
	broken := func(b *script) { b.answer(10*s, 500, "") }
	tests := []struct {
		name    string
		change  func(*script)
		want    Outcome // of a record in which a claim is refuted
		because string
	}{
		{"nothing to doubt", func(*script) {}, Refuted, "failed: promised ≤ 0, got 1 of 2,800 in the whole run; 1 of 1 failed because the service answered with an error of its own"},
		{"cut in a line", func(b *script) { b.Cut, b.End = true, nil }, Inconclusive, "cut off in the middle"},
		{"no end", func(b *script) { b.End = nil }, Inconclusive, "no end"},
		{"no fault", func(b *script) { b.Phases = b.Phases[:2] }, Inconclusive, "never began"},
		{"no fault, interrupted", func(b *script) {
			b.Phases = b.Phases[:2]
			b.End.Interrupted = "12 requests failed before anything was broken"
		}, Inconclusive, "never began: 12 requests failed"},
		{"no window", func(b *script) { b.Header.Window.Length = 0 }, Inconclusive, "no window"},
		{"load ended early", func(b *script) { b.Requests, b.Seconds = b.Requests[:2400], b.Seconds[:24] }, Inconclusive, "the load ended 19 s after the fault, and the window is 20 s"},
		{"load ended just late enough", func(b *script) { b.Requests, b.Seconds = b.Requests[:2500], b.Seconds[:25] }, Refuted, ""},
		{"no load in the window", func(b *script) { b.Requests = append(b.Requests[:400:400], b.Requests[2600:]...) }, Inconclusive, "no request was due in the window"},
		{"a gap in the load", func(b *script) {
			b.Requests = append(append(b.Requests[:700:700], b.Requests[1000:1001]...), b.Requests[1400:]...)
		}, Inconclusive, "only 1,301 of the 2,000 requests"},
		{"lag of one", func(b *script) { b.late(1, 1001*ms) }, Inconclusive, "up to 1.001 s behind"},
		{"lag of one that is allowed", func(b *script) { b.late(1, s) }, Refuted, ""},
		{"lag of a second", func(b *script) { b.Seconds[9].Lag = 1100 * ms }, Inconclusive, "up to 1.1 s behind"},
		{"lag while warming up", func(b *script) { b.Seconds[1].Lag = 1100 * ms }, Refuted, ""},
		{"some very late", func(b *script) { b.late(3, 101*ms) }, Inconclusive, "3 of 2,800 requests more than 100 ms late"},
		{"few very late", func(b *script) { b.late(2, 101*ms) }, Refuted, ""},
		{"many late", func(b *script) { b.late(29, 51*ms) }, Inconclusive, "29 of 2,800 requests more than 50 ms late"},
		{"not so many late", func(b *script) { b.late(28, 51*ms) }, Refuted, ""},
		{"one not sent", func(b *script) { b.fail(12*s, record.NotSent, 0) }, Inconclusive, "did not send 1 request"},
		{"busy machine", func(b *script) {
			for i := 6; i < 12; i++ {
				b.Seconds[i].CPU = 0.96
			}
		}, Inconclusive, "too busy to measure anything in 6 of 20 seconds"},
		{"less busy machine", func(b *script) {
			for i := 6; i < 11; i++ {
				b.Seconds[i].CPU = 0.96
			}
		}, Refuted, ""},
		{"ends before it begins", func(b *script) { b.at(12 * s).Done = 11 * s }, Inconclusive, "1 request was over before due"},
		{"far away", func(b *script) { b.at(12 * s).Done = 1e18 }, Inconclusive, "1 line claims to be at an instant that cannot be"},
		// A store that forgets does not do so because somebody was slow.
		{"lost, and all busy and late", func(b *script) {
			b.Header.Promise.Writes = true
			b.Stored = b.Stored[1:]
			b.late(29, 200*ms)
			for i := range b.Seconds {
				b.Seconds[i].CPU = 1
			}
		}, Refuted, "writes: promised none lost or changed, got 1 lost, none doubled, none changed of 2,999"},
		{"lost, but the record is damaged", func(b *script) {
			b.Header.Promise.Writes = true
			b.Stored, b.Cut = b.Stored[1:], true
		}, Inconclusive, "cut off"},
		// What was seen to be broken stays broken, whatever else is not known.
		{"fault not complete", func(b *script) { b.Phases[3].At = 25 * s }, Refuted, ""},
		{"interrupted after the window", func(b *script) { b.End.Interrupted = "signal" }, Refuted, ""},
		{"unsteady afterwards", func(b *script) { b.End.Unsteady = []string{"node n1 is not ready"} }, Refuted, ""},
		// What is broken by nobody knows what is no verdict about requests.
		{"unattributed", func(b *script) { b.fail(12*s, record.Timeout, 5*s) }, Inconclusive, "1 of 2 failed or slow requests cannot be explained"},
		{"unattributed, one of a hundred", func(b *script) {
			for i := range 98 {
				b.answer(10*s+time.Duration(i+1)*10*ms, 500, "")
			}
			b.fail(14*s, record.Timeout, 5*s)
		}, Refuted, ""},
		{"unattributed, and lost", func(b *script) {
			b.Header.Promise.Writes = true
			b.Stored = b.Stored[1:]
			b.fail(12*s, record.Timeout, 5*s)
		}, Refuted, "writes: promised none lost or changed"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			b := newScript(t)
			b.Header.Promise.Failed = number(0)
			broken(b)
			tc.change(b)
			v := b.judge()
			if v.Verdict != tc.want || !strings.Contains(v.Because, tc.because) {
				t.Errorf("%s because %q, want %s because %q", v.Verdict, v.Because, tc.want, tc.because)
			}
		})
	}
}

// A request that is missing, or told twice, or another one than was counted, makes
// a record no evidence.
func TestContradictions(t *testing.T) {
	for name, change := range map[string]func(*script){
		"one missing":        func(b *script) { b.Requests = slices.Delete(b.Requests, 700, 701) },
		"one failure hidden": func(b *script) { b.Seconds[10].Failed++ },
		"one twice":          func(b *script) { b.Requests[701].ID = b.Requests[700].ID },
	} {
		b := newScript(t)
		b.Header.Promise.Availability = 0.9
		if v := b.judgeAsIs(); v.Verdict != Held {
			t.Fatalf("as it is: %s because %s", v.Verdict, v.Because)
		}
		change(b)
		if v := b.judgeAsIs(); v.Verdict != Inconclusive || !strings.Contains(v.Because, "contradicts itself") {
			t.Errorf("%s: %s because %s", name, v.Verdict, v.Because)
		}
	}
}

// A promised percentile that is not kept makes what is beyond it explained.
func TestSlowAgainstThePromise(t *testing.T) {
	b := newScript(t)
	b.Header.Promise.P99 = 100 * ms
	b.event(6*s, record.Part, "eu/telemetry", "restarting")
	b.event(9*s, record.Part, "eu/telemetry", "ready")
	for i := range 40 {
		b.slow(7*s+time.Duration(i)*10*ms, 150*ms)
	}
	v := b.judge()
	if v.Requests.Slow != 40 || len(v.Attribution) != 1 || v.Attribution[0].Count != 40 || v.Attribution[0].Cause != Database || v.Verdict != Refuted || len(v.Fixes) == 0 {
		t.Errorf("%s because %s: %+v, %+v, fixes %+v", v.Verdict, v.Because, v.Requests, v.Attribution, v.Fixes)
	}
	b.Header.Promise.P99 = 200 * ms // kept: nothing over 300 ms
	if v := b.judge(); v.Requests.Slow != 0 || v.Verdict != Held {
		t.Errorf("%s because %s: %+v", v.Verdict, v.Because, v.Requests)
	}
}

// Many slow requests that are explained do not hide failures that are not.
func TestUnattributedFailures(t *testing.T) {
	b := newScript(t)
	b.Header.Promise.Availability = 0.9
	b.event(6*s, record.Part, "eu/telemetry", "restarting")
	b.event(9*s, record.Part, "eu/telemetry", "ready")
	for i := range 290 {
		b.slow(6*s+time.Duration(i)*10*ms, 400*ms)
	}
	b.fail(20*s, record.Timeout, 5*s)
	if v := b.judge(); v.Verdict != Inconclusive || !strings.Contains(v.Because, "1 of 1 failed requests cannot be explained") {
		t.Errorf("%s because %s", v.Verdict, v.Because)
	}
}

// The lesser doubts keep a verdict from being green.
func TestNeverGreen(t *testing.T) {
	tests := []struct {
		name    string
		change  func(*script)
		because string // "": it is held
	}{
		{"nothing to doubt", func(*script) {}, ""},
		{"fault not complete", func(b *script) { b.Phases[3].At = 25 * s }, "not complete within the window of 20 s"},
		{"fault just complete", func(b *script) { b.Phases[3].At = 25*s - 1 }, ""},
		{"fault never complete", func(b *script) { b.Phases = append(b.Phases[:3:3], b.Phases[4]) }, "not complete"},
		{"interrupted after the window", func(b *script) { b.End.Interrupted = "signal: interrupt" }, "did not run to its end: signal: interrupt"},
		{"unsteady afterwards", func(b *script) { b.End.Unsteady = []string{"node n1 is not ready"} }, "not all was in order afterwards: node n1 is not ready"},
		{"one of ten unattributed", func(b *script) {
			for i := range 9 {
				b.answer(10*s+time.Duration(i)*s, 500, "")
			}
			b.slow(12*s+500*ms, 400*ms)
		}, "1 of 10 failed or slow requests cannot be explained"},
		{"one of a hundred unattributed", func(b *script) {
			for i := range 99 {
				b.answer(10*s+time.Duration(i)*10*ms, 500, "")
			}
			b.slow(12*s+500*ms, 400*ms)
		}, ""},
		{"generator behind", func(b *script) { b.late(3, 101*ms) }, "more than 100 ms late"},
		{"busy machine that broke nothing", func(b *script) {
			for i := range b.Seconds {
				b.Seconds[i].Steal = 1
			}
		}, ""},
		{"nothing promised", func(b *script) { b.Header.Promise = record.Promise{} }, "nothing was promised"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			b := newScript(t)
			b.Header.Promise.Availability = 0.9
			tc.change(b)
			v := b.judge()
			want := Inconclusive
			if tc.because == "" {
				want = Held
			}
			if v.Verdict != want || !strings.Contains(v.Because, tc.because) {
				t.Errorf("%s because %q, want %s because %q", v.Verdict, v.Because, want, tc.because)
			}
		})
	}
}

func TestNoRecord(t *testing.T) {
	for name, rec := range map[string]*record.Record{"nil": nil, "no header": {}, "other version": {Header: &record.Header{Version: record.Version + 1}}} {
		if v, err := Judge(rec); err == nil || v != nil {
			t.Errorf("%s: %v, %v", name, v, err)
		}
	}
	v, err := Judge(&record.Record{Header: &record.Header{Version: record.Version}})
	if err != nil || v.Verdict != Inconclusive || v.Because == "" {
		t.Errorf("a record of a header alone: %+v, %v", v, err)
	}
}

// The order of lines of a record does not matter: requests are told when they
// are done.
func TestDeterministic(t *testing.T) {
	b := newScript(t)
	b.Header.Promise = record.Promise{Availability: 0.999, P99: 100 * ms, Slow: 300 * ms, Writes: true, Fresh: true, Capacity: 3, Restored: true, Recovery: 5 * s}
	b.event(7*s, record.Machine, "n1", "stopped")
	b.event(8*s, record.Machine, "n2", "frozen")
	b.event(9*s, record.Backend, "n1", "down")
	for i := range 200 {
		at := 7*s + time.Duration(i)*20*ms
		switch i % 4 {
		case 0:
			b.fail(at, record.Timeout, 5*s)
		case 1:
			b.fail(at, record.ConnectTimeout, 3*s)
		case 2:
			b.slow(at, 900*ms)
		case 3:
			b.answer(at, 503, "too many requests at once")
		}
	}
	b.Stored = b.Stored[30:]
	first, err := json.Marshal(b.judge())
	if err != nil {
		t.Fatal(err)
	}
	dice := rand.New(rand.NewPCG(1, 2))
	for range 5 {
		dice.Shuffle(len(b.Requests), func(i, j int) { b.Requests[i], b.Requests[j] = b.Requests[j], b.Requests[i] })
		again, err := json.Marshal(b.judge())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, again) {
			t.Fatalf("two verdicts of one record:\n%s\n%s", first, again)
		}
	}
}

func TestTimes(t *testing.T) {
	b := newScript(t)
	b.Header.Drill = "node-loss"
	b.Header.Promise.Availability = 0.999
	b.Header.Clocks = []record.Clock{
		{Name: "load balancer probe", Here: 5 * s, AKS: 15 * s, Delay: "detection"},
		{Name: "node-monitor-grace-period", Here: 10 * s, AKS: 50 * s, Delay: "capacity"},
	}
	b.event(5*s, record.Fault, "n1", "done").Text = "power of n1 cut"
	b.event(5*s, record.Machine, "n1", "stopped")
	b.on(5500*ms, record.Endpoint, "p2", "unready", "n2") // of a node that is there
	b.on(5600*ms, record.Endpoint, "p2", "ready", "n2")
	b.event(12*s, record.Backend, "n1", "down")
	b.event(15*s, record.NodeKind, "n1", "unknown")
	b.on(15*s, record.Endpoint, "p1", "unready", "n1")
	b.on(17*s, record.Endpoint, "p4", "ready", "n2")
	for i := range 700 {
		if r := &b.Requests[500+i]; r.Pod == "p1" {
			b.fail(r.Scheduled, record.Timeout, 2*s)
		}
	}
	v := b.judge()
	failed := v.Requests.Failed
	if failed < 230 || failed > 235 {
		t.Fatalf("%d failed", failed)
	}
	outage := time.Duration(failed) * 10 * ms
	want := Times{At: 5 * s, Detect: 7 * s, DetectBy: "load balancer: n1 down", Recover: 8990 * ms, Restored: 12 * s, Outage: outage}
	if r := v.Fault.Recover; r < 8970*ms || r > 9*s {
		t.Errorf("recovered after %s", r)
	}
	want.Recover = v.Fault.Recover
	if v.Fault != want {
		t.Errorf("got  %+v\nwant %+v", v.Fault, want)
	}
	// A third of the requests failed until the probes had failed, and would for
	// ten seconds more. Capacity cost nothing: the others served.
	more := time.Duration(float64(10*s) * float64(failed) / 700)
	if v.Unmodelled != outage+more {
		t.Errorf("outage on AKS %s, want %s and %s", v.Unmodelled, outage, more)
	}
	if v.Budget.Month != 43*time.Minute+12*s || v.Budget.Spent != outage {
		t.Errorf("%+v", v.Budget)
	}
	if v.Verdict != Refuted || len(v.Fixes) != 1 || v.Fixes[0].Field != "" || !strings.Contains(v.Fixes[0].Change, "mesh") {
		t.Errorf("%s: %+v", v.Verdict, v.Fixes)
	}
	if len(v.Timeline) != 30 || v.Timeline[6].Failed == 0 || v.Timeline[4].Failed != 0 || v.Timeline[16].Ready != 2 || v.Timeline[18].Ready != 3 {
		t.Errorf("%+v", v.Timeline)
	}
	for i, mark := range []string{"warm", "steady", "inject", "power of n1 cut"} {
		if v.Marks[i].Text != mark {
			t.Errorf("mark %d is %+v, want %s", i, v.Marks[i], mark)
		}
	}
}

// What the fault did not wait for costs nothing on AKS either.
func TestClocksThatDoNotMatter(t *testing.T) {
	b := newScript(t)
	b.Header.Clocks = []record.Clock{{Name: "load balancer probe", Here: 5 * s, AKS: 15 * s, Delay: "detection"}}
	b.on(5*s, record.Pod, "p1", "deleted", "n1")
	b.event(12*s, record.Backend, "n1", "down")
	b.fail(5*s+100*ms, record.Reset, ms)
	v := b.judge()
	if v.Unmodelled != v.Fault.Outage || v.Fault.Outage != 10*ms {
		t.Errorf("outage %s, on AKS %s", v.Fault.Outage, v.Unmodelled)
	}
	if len(v.Clocks) != 1 || v.Clocks[0].AKS != 15*s {
		t.Errorf("%+v", v.Clocks)
	}
}

// Nobody served until the only replica was somewhere else: with AKS' clocks that
// takes longer.
func TestClockOfCapacity(t *testing.T) {
	b := newScript(t)
	b.Header.Service.Replicas, b.Header.Service.Least = 1, 1
	b.Header.Clocks = []record.Clock{{Name: "node-monitor-grace-period", Here: 10 * s, AKS: 50 * s, Delay: "capacity"}}
	b.Events = nil
	b.on(0, record.Endpoint, "p1", "ready", "n1")
	b.event(0, record.Backend, "n1", "up")
	b.event(5*s, record.Machine, "n1", "stopped")
	b.event(10*s, record.Backend, "n1", "down")
	b.on(15*s, record.Endpoint, "p1", "gone", "n1")
	b.on(16*s, record.Endpoint, "p2", "ready", "n2")
	for i := range 1100 {
		b.fail(5*s+time.Duration(i)*10*ms, record.ConnectTimeout, s)
	}
	v := b.judge()
	if want := v.Fault.Outage + 40*s; v.Unmodelled != want {
		t.Errorf("outage %s, on AKS %s, want %s", v.Fault.Outage, v.Unmodelled, want)
	}
}

func TestFixes(t *testing.T) {
	tests := []struct {
		name   string
		change func(*script)
		field  string
		why    string
	}{
		{"no drain", func(b *script) {
			b.on(5*s, record.Pod, "p1", "terminating", "n1")
			b.on(6*s, record.Pod, "p1", "ended", "n1")
			for i := 500; i < len(b.Requests); i++ {
				if r := &b.Requests[i]; r.Pod == "p1" {
					r.Pod, r.Node = "p2", "n2"
				}
			}
			b.fail(5*s+100*ms, record.Reset, ms)
		}, "services.vehicle.drain.delay", "without drain"},
		{"one replica", func(b *script) {
			b.Header.Service.Replicas = 1
			for _, p := range []string{"p1", "p2", "p3"} {
				b.event(5*s, record.Endpoint, p, "gone")
			}
			b.fail(6*s, record.ConnectTimeout, s)
		}, "services.vehicle.scale.replicas", "nobody was there"},
		{"readiness that lies", func(b *script) {
			b.on(6*s, record.Endpoint, "p4", "ready", "n1")
			b.fail(6*s+100*ms, record.ConnectRefused, ms)
		}, "services.vehicle.probes.readiness", "could not serve"},
		{"one zone", func(b *script) {
			b.Header.Promise.Capacity = 1
			for i := range b.Events {
				if e := &b.Events[i]; e.Kind == record.Endpoint || e.Kind == record.Pod {
					e.Node = "n1"
				}
			}
			for _, p := range []string{"p1", "p2", "p3"} {
				b.event(7*s, record.Endpoint, p, "unready")
			}
		}, "regions.eu.zones", "all were in one zone"},
		{"no disruption budget", func(b *script) {
			b.Header.Promise.Capacity = 2
			b.event(7*s, record.Endpoint, "p1", "terminating")
			b.event(7*s, record.Endpoint, "p2", "terminating")
		}, "services.vehicle.disruption", "ready endpoints: 1"},
		{"pool too small", func(b *script) {
			b.Header.Promise.Restored = true
			b.event(7*s, record.Endpoint, "p1", "gone")
			b.event(7*s, record.Pod, "p4", "pending").Text = "0/3 nodes are available: Insufficient cpu"
		}, "regions.eu.nodes", "Insufficient cpu"},
		{"acknowledged from memory", func(b *script) {
			b.Header.Promise.Writes = true
			b.Stored = b.Stored[1:]
		}, "", "1 lost"},
		{"no deadline", func(b *script) {
			b.Header.Promise.Answer = 2 * s
			b.answer(7*s, 504, "").Done = 12 * s
		}, "", "1 of 2,000 not"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			b := newScript(t)
			b.Header.Promise.Failed = number(0)
			tc.change(b)
			v := b.judge()
			if v.Verdict != Refuted {
				t.Fatalf("%s: %s", v.Verdict, v.Because)
			}
			for _, f := range v.Fixes {
				if f.Field == tc.field && strings.Contains(f.Why, tc.why) {
					return
				}
			}
			t.Errorf("none of %+v is of %q because %q", v.Fixes, tc.field, tc.why)
		})
	}
}

// What is advised where nobody tried again depends on who could.
func TestFixesOfWhatCouldBeTriedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		mesh  bool
		retry *record.Retry
		want  string
	}{
		"no mesh":            {false, &record.Retry{Attempts: 3}, ""},
		"clients do not":     {true, nil, "clients.attempts"},
		"clients try once":   {true, &record.Retry{Attempts: 1}, "clients.attempts"},
		"clients try thrice": {true, &record.Retry{Attempts: 3}, "services.vehicle.operations"},
	} {
		f := fixer{inquiry: &inquiry{Record: &record.Record{Header: &record.Header{Mesh: c.mesh, Load: record.Load{Retry: c.retry}}}}, service: "services.vehicle"}
		f.again("WHY")
		if len(f.all) != 1 || f.all[0].Field != c.want || f.all[0].Why != "WHY" {
			t.Errorf("%s: %+v", name, f.all)
		}
	}
}
