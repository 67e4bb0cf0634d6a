package claim

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nines-ha/nines/record"
)

// anyRecord draws a record of a little load on a little cluster in which anything
// may happen at any time.
func anyRecord(t *rapid.T) *record.Record {
	instant := rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.IntRange(0, 400).Draw(t, "at")) * 100 * ms
	})
	rec := &record.Record{Header: &record.Header{
		Version: record.Version, Stores: []string{"db"}, Nodes: []record.Node{{Name: "n1", Zone: "z-1"}, {Name: "n2", Zone: "z-2"}},
		Service: record.Service{Name: "x", Replicas: 2, Least: 1},
		Window:  record.Window{Length: time.Duration(rapid.IntRange(1, 25).Draw(t, "window")) * s},
		Load:    record.Load{Rate: rapid.SampledFrom([]float64{0, 1, 10}).Draw(t, "rate")},
		Promise: record.Promise{
			Availability: rapid.SampledFrom([]float64{0, 0.5, 0.999, 1}).Draw(t, "availability"),
			Slow:         rapid.SampledFrom([]time.Duration{0, 50 * ms, 300 * ms}).Draw(t, "slow"),
			P99:          100 * ms, Recovery: 5 * s, Answer: 2 * s, Capacity: 1, Writes: true, Fresh: true, Restored: true, Failed: number(1),
		},
	}}
	if rapid.Bool().Draw(t, "ended") {
		rec.End = &record.End{At: 41 * s, ReadBack: rapid.Bool().Draw(t, "read back")}
	}
	inject := instant.Draw(t, "inject")
	rec.Phases = []record.Phase{{At: 0, Name: record.Warm}, {At: min(2*s, inject), Name: record.Steady}, {At: inject, Name: record.Inject}, {At: inject + s, Name: record.Injected}}
	kinds := map[string][]string{
		record.Pod: {"pending", "running", "ready", "unready", "terminating", "ended", "deleted"}, record.Endpoint: {"ready", "unready", "terminating", "gone"},
		record.NodeKind: {"ready", "unknown"}, record.Machine: {"running", "frozen", "stopped", "cut"}, record.Zone: {"joined", "cut"},
		record.Backend: {"up", "down"}, record.Part: {"ready", "stopped"}, record.Fault: {"done", "undone"},
	}
	names := map[string][]string{
		record.Pod: {"p1", "p2"}, record.Endpoint: {"p1", "p2"}, record.NodeKind: {"n1", "n2"}, record.Machine: {"n1", "n2"},
		record.Zone: {"1", "z-2"}, record.Backend: {"n1", "n2"}, record.Part: {"r/db", "r/etcd"}, record.Fault: {"r/db", "p1"},
	}
	order := []string{record.Pod, record.Endpoint, record.NodeKind, record.Machine, record.Zone, record.Backend, record.Part, record.Fault}
	for range rapid.IntRange(0, 40).Draw(t, "events") {
		kind := rapid.SampledFrom(order).Draw(t, "kind")
		rec.Events = append(rec.Events, record.Event{
			At: instant.Draw(t, "event"), Kind: kind, Name: rapid.SampledFrom(names[kind]).Draw(t, "name"), State: rapid.SampledFrom(kinds[kind]).Draw(t, "state"),
			Node: rapid.SampledFrom([]string{"", "n1", "n2"}).Draw(t, "node"),
		})
	}
	slices.SortStableFunc(rec.Events, func(a, b record.Event) int { return int(a.At - b.At) })
	if rapid.Bool().Draw(t, "gateway") {
		rec.Header.Mesh, rec.Header.Gateway = true, &record.Gateway{Name: "g", Replicas: 2}
		for i := range rapid.IntRange(0, 6).Draw(t, "gateway's turns") {
			rec.Events = append(rec.Events, record.Event{
				At: instant.Draw(t, "turn"), Kind: []string{record.GatewayKind, record.Pod}[i%2], Name: rapid.SampledFrom([]string{"g1", "g2"}).Draw(t, "gateway pod"),
				State: rapid.SampledFrom([]string{"ready", "terminating", "gone", "deleted"}).Draw(t, "turn to"), Node: rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "gateway's node"),
			})
		}
		slices.SortStableFunc(rec.Events, func(a, b record.Event) int { return int(a.At - b.At) })
		for range rapid.IntRange(0, 30).Draw(t, "hops") {
			rec.Hops = append(rec.Hops, record.Hop{
				ID: fmt.Sprint("r", rapid.IntRange(0, 60).Draw(t, "of")), At: instant.Draw(t, "hop"), Length: time.Duration(rapid.IntRange(0, 5000).Draw(t, "length")) * ms,
				Proxy: rapid.SampledFrom([]string{record.AtGateway, record.Inbound, record.Outbound}).Draw(t, "proxy"), Pod: rapid.SampledFrom([]string{"g1", "p1", ""}).Draw(t, "proxy's pod"),
				Flags:    rapid.SliceOfN(rapid.SampledFrom(append(slices.Sorted(maps.Keys(flags())), "?")), 0, 3).Draw(t, "flags"),
				Upstream: rapid.SampledFrom([]string{"", "10.0.0.1:80"}).Draw(t, "upstream"), UpstreamPod: rapid.SampledFrom([]string{"", "p1", "p2"}).Draw(t, "upstream pod"),
				Attempts: rapid.IntRange(0, 3).Draw(t, "attempts"), Failure: rapid.SampledFrom([]string{"", "refused", "TLS_error"}).Draw(t, "failure"),
			})
		}
	}
	if rapid.Bool().Draw(t, "traced") {
		rec.Header.Promise.Traced = 0.5
		span := rapid.SampledFrom([]string{"", "a", "b", "c"})
		for range rapid.IntRange(0, 30).Draw(t, "spans") {
			rec.Spans = append(rec.Spans, record.Span{
				ID: fmt.Sprint("r", rapid.IntRange(0, 10).Draw(t, "span of")), Span: span.Draw(t, "span"), Parent: span.Draw(t, "parent"),
				Place: rapid.SampledFrom([]string{"", record.AtGateway, record.Inbound, record.AtService, record.AtStore}).Draw(t, "place"), At: instant.Draw(t, "span at"), Length: 100 * ms,
			})
		}
	}
	classes := []record.Class{"", "", record.ConnectTimeout, record.ConnectRefused, record.ConnectFailed, record.Reset, record.Closed, record.Timeout, record.Malformed, record.WrongAnswer, record.NotSent}
	for i := range rapid.IntRange(0, 60).Draw(t, "requests") {
		at := instant.Draw(t, "due")
		r := record.Request{ID: fmt.Sprint("r", i), Client: i % 3, Op: "write", Scheduled: at, Taken: at + time.Duration(rapid.IntRange(0, 60).Draw(t, "lag"))*ms}
		r.Done = r.Taken + time.Duration(rapid.IntRange(1, 5000).Draw(t, "took"))*ms
		r.Sampled = rapid.Bool().Draw(t, "sampled")
		r.Error = rapid.SampledFrom(classes).Draw(t, "class")
		if rapid.Bool().Draw(t, "sent") {
			r.Sent, r.Conn, r.Reused = r.Taken+ms, fmt.Sprint("c", i%4), rapid.Bool().Draw(t, "reused")
		}
		if r.Error == "" {
			r.Status = rapid.SampledFrom([]int{0, 200, 200, 200, 304, 404, 429, 500, 503, 504}).Draw(t, "status")
			r.Pod = rapid.SampledFrom([]string{"", "p1", "p2"}).Draw(t, "pod")
		}
		if rapid.Bool().Draw(t, "is write") {
			r.Write = &record.Write{Entity: fmt.Sprint("v", i%2), Version: int64(i), Sum: fmt.Sprint(i), Acknowledged: !r.Failed()}
		} else {
			r.Read = &record.Read{Entity: fmt.Sprint("v", i%2), Saw: int64(rapid.IntRange(0, i).Draw(t, "saw"))}
		}
		rec.Requests = append(rec.Requests, r)
	}
	drawAttempts(t, rec)
	for i := range 41 {
		rec.Seconds = append(rec.Seconds, record.Second{At: time.Duration(i) * s, CPU: rapid.SampledFrom([]float64{0.2, 0.5, 0.96}).Draw(t, "cpu")})
	}
	recount(rec)
	for i := range rapid.IntRange(0, 4).Draw(t, "flows") {
		rec.Flows = append(rec.Flows, record.Flow{Conn: fmt.Sprint("c", i), Node: rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "flow")})
	}
	return rec
}

// drawAttempts has some of what failed tried again, and sometimes loses one of
// those lines.
func drawAttempts(t *rapid.T, rec *record.Record) {
	most := rapid.SampledFrom([]int{1, 1, 2, 4}).Draw(t, "attempts")
	if most == 1 {
		return
	}
	rec.Header.Load.Retry = &record.Retry{Attempts: most, Timeout: s}
	for i, n := 0, len(rec.Requests); i < n; i++ {
		first := i
		for at, retries := i, 1; retries < most && rec.Requests[at].Failed() && rec.Requests[at].Error != record.NotSent && rapid.Bool().Draw(t, "again"); retries++ {
			before := &rec.Requests[at]
			before.Again = true
			r := *before
			r.ID, r.Of, r.Retries, r.Again = fmt.Sprintf("%s.%d", rec.Requests[first].ID, retries), rec.Requests[first].ID, retries, false
			r.Scheduled = before.Done + time.Duration(rapid.IntRange(0, 500).Draw(t, "wait"))*ms
			r.Taken = r.Scheduled
			r.Done = r.Taken + time.Duration(rapid.IntRange(1, 2000).Draw(t, "took again"))*ms
			if rapid.Bool().Draw(t, "well") {
				r.Error, r.Status, r.Sent, r.Pod = "", 200, r.Taken+ms, "p1"
			}
			if r.Write != nil {
				write := *r.Write
				write.Acknowledged = !r.Failed()
				r.Write = &write
			}
			rec.Requests = append(rec.Requests, r)
			at = len(rec.Requests) - 1
		}
	}
	if n := len(rec.Requests); n > 0 && rapid.IntRange(0, 9).Draw(t, "one is lost") == 0 {
		lost := rapid.IntRange(0, n-1).Draw(t, "lost")
		if rec.Requests[lost].Of != "" { // a first one would leave others that belong to nothing
			rec.Requests = slices.Delete(rec.Requests, lost, lost+1)
		}
	}
}

func mustJudge(t *rapid.T, rec *record.Record) *Verdict {
	v, err := Judge(rec)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The causes add up to what went wrong: all of it, and nothing twice.
func TestAttributionAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rec := anyRecord(t)
		v := mustJudge(t, rec)
		var total, bad, slow int
		limit := slowBeyond(rec)
		for _, w := range wholes(rec) {
			if w.due < rec.Phases[1].At {
				continue
			}
			total++
			switch {
			case w.failed:
				bad++
			case limit > 0 && w.took > limit:
				slow++
			}
		}
		if v.Requests.Run != total || v.Requests.RunFailed != bad || v.Requests.RunSlow != slow {
			t.Fatalf("%+v, want %d, %d failed, %d slow", v.Requests, total, bad, slow)
		}
		seen := map[string]bool{}
		for i, a := range v.Attribution {
			if seen[a.Cause] || a.Count != a.Failed+a.Slow || a.Count < 1 || a.Text == "" || len(a.Evidence) == 0 || i > 0 && a.Count > v.Attribution[i-1].Count {
				t.Fatalf("%+v", v.Attribution)
			}
			seen[a.Cause] = true
			bad, slow = bad-a.Failed, slow-a.Slow
		}
		if bad != 0 || slow != 0 {
			t.Fatalf("%d failed and %d slow requests too few are attributed: %+v", bad, slow, v.Attribution)
		}
	})
}

// slowBeyond is what the objective says, or the promised 99th percentile if that
// is less and more than one in a hundred good answers of the window took longer.
func slowBeyond(rec *record.Record) time.Duration {
	p, inject := rec.Header.Promise, rec.Phases[2].At
	good, over := 0, 0
	for _, w := range wholes(rec) {
		if w.failed || w.due < inject || w.due >= inject+rec.Header.Window.Length {
			continue
		}
		good++
		if w.took > p.P99 {
			over++
		}
	}
	if over*100 > good && (p.Slow <= 0 || p.P99 < p.Slow) {
		return p.P99
	}
	return p.Slow
}

// Whatever the record, the verdict can be written, is within bounds, and follows
// from claims and doubts as the package says.
func TestVerdictFollows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := mustJudge(t, anyRecord(t))
		if _, err := json.Marshal(v); err != nil {
			t.Fatal(err)
		}
		if len(v.Timeline) > mostBuckets || len(v.Marks) > mostMarks || len(v.Worst) > 10 {
			t.Fatalf("%d buckets, %d marks, %d cases", len(v.Timeline), len(v.Marks), len(v.Worst))
		}
		in := 0
		for _, b := range v.Timeline {
			in += b.Requests
		}
		refuted := slices.ContainsFunc(v.Claims, func(c Claim) bool { return c.Outcome == Refuted })
		open := slices.ContainsFunc(v.Claims, func(c Claim) bool { return c.Outcome == Inconclusive })
		switch {
		case v.Verdict == Held && (refuted || open || len(v.Doubts) > 0 || len(v.Claims) == 0):
			t.Fatalf("held, with %v and %v", v.Claims, v.Doubts)
		case v.Verdict == Refuted && !refuted:
			t.Fatalf("refuted by nothing: %v", v.Claims)
		case v.Verdict == Inconclusive && !open && len(v.Doubts) == 0:
			t.Fatalf("inconclusive for no reason: %v", v.Claims)
		case v.Because == "":
			t.Fatal("no reason is told")
		}
		if len(v.Fixes) > 0 && v.Verdict != Refuted {
			t.Fatalf("%s, with fixes", v.Verdict)
		}
	})
}

// Waiting after the window changes nothing that is judged over it, and neither
// does what was before.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rec := anyRecord(t)
		inject := rec.Phases[2].At
		end := inject + rec.Header.Window.Length
		v := mustJudge(t, rec)
		want := 0
		for _, w := range wholes(rec) {
			if w.due >= inject && w.due < end {
				want++
			}
		}
		if v.Requests.Total != want {
			t.Fatalf("%d requests in the window, want %d", v.Requests.Total, want)
		}
		more := *rec
		more.Requests = slices.Clone(rec.Requests)
		for i := range rapid.IntRange(1, 200).Draw(t, "after") {
			at := end + time.Duration(i)*10*ms
			more.Requests = append(more.Requests, record.Request{ID: fmt.Sprint("after", i), Scheduled: at, Taken: at, Sent: at + 1, Done: at + ms, Status: 200})
		}
		for i := range rapid.IntRange(0, 5).Draw(t, "before") {
			at := inject - time.Duration(i+1)
			more.Requests = append(more.Requests, record.Request{ID: fmt.Sprint("before", i), Scheduled: at, Taken: at, Sent: at + 1, Done: end + s, Status: 200})
		}
		again := mustJudge(t, &more)
		a, b := v.Requests, again.Requests
		a.Run, a.RunFailed, a.RunSlow, b.Run, b.RunFailed, b.RunSlow = 0, 0, 0, 0, 0, 0
		if a != b || v.Latency != again.Latency || v.Fault.Outage != again.Fault.Outage {
			t.Fatalf("waiting changed %+v %+v %s to %+v %+v %s", a, v.Latency, v.Fault.Outage, b, again.Latency, again.Fault.Outage)
		}
	})
}

// A request at the edges of the window.
func TestEdges(t *testing.T) {
	tests := []struct {
		at time.Duration
		in bool
	}{{5*s - 1, false}, {5 * s, true}, {25*s - 1, true}, {25 * s, false}}
	for _, tc := range tests {
		b := newScript(t)
		b.Requests = append(b.Requests, record.Request{ID: "edge", Scheduled: tc.at, Taken: tc.at, Sent: tc.at + 1, Done: tc.at + 10*s, Status: 200})
		v := b.judge()
		want := 2000
		if tc.in {
			want++
		}
		if v.Requests.Total != want || (v.Latency.Max == 10*s) != tc.in || (v.Requests.Slow == 1) != tc.in || v.Requests.RunSlow != 1 {
			t.Errorf("due at %s: %+v %+v", tc.at, v.Requests, v.Latency)
		}
	}
}

// Percentiles against the definition: the smallest value so that at least the
// share of all is not above it.
func TestPercentiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(rapid.IntRange(1, 3000), rapid.SampledFrom([]int{1, 2, 999, 1000, 1001, 1999})).Draw(t, "n")
		width := rapid.IntRange(1, 5000).Draw(t, "width")
		values := make([]time.Duration, n)
		state := rapid.Uint64().Draw(t, "seed")
		for i := range values {
			state = state*6364136223846793005 + 1442695040888963407
			values[i] = time.Duration(state>>33) % time.Duration(width)
		}
		slices.Sort(values)
		for _, perMille := range []int{500, 950, 990, 999} {
			got := rank(values, perMille)
			notAbove, below := 0, 0
			for _, v := range values {
				if v <= got {
					notAbove++
				}
				if v < got {
					below++
				}
			}
			if notAbove*1000 < perMille*n || below*1000 >= perMille*n {
				t.Fatalf("%d per mille of %d values is %d: %d are not above, %d are below", perMille, n, got, notAbove, below)
			}
		}
	})
}

// Writes against a model that looks at every pair.
func TestWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rec := &record.Record{Header: &record.Header{Version: record.Version}, End: &record.End{ReadBack: true}}
		for i := range rapid.IntRange(0, 25).Draw(t, "requests") {
			at := time.Duration(i) * ms
			r := record.Request{ID: fmt.Sprint(i), Scheduled: at, Taken: at, Done: at + time.Duration(rapid.IntRange(1, 20).Draw(t, "took"))*ms, Status: 200}
			if rapid.IntRange(0, 4).Draw(t, "sent") > 0 {
				r.Sent = at + ms
			}
			entity := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "entity")
			if rapid.Bool().Draw(t, "write") {
				r.Write = &record.Write{Entity: entity, Version: int64(i), Sum: fmt.Sprint(i), Acknowledged: r.Sent > 0 && rapid.Bool().Draw(t, "acknowledged")}
			} else {
				r.Read = &record.Read{Entity: entity, Saw: int64(rapid.IntRange(0, i).Draw(t, "saw"))}
			}
			rec.Requests = append(rec.Requests, r)
		}
		for range rapid.IntRange(0, 25).Draw(t, "stored") {
			i := rapid.IntRange(0, 26).Draw(t, "version")
			sum := fmt.Sprint(i)
			if rapid.IntRange(0, 5).Draw(t, "tampered") == 0 {
				sum = "x"
			}
			entity := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "of")
			rec.Stored = append(rec.Stored, record.Stored{Entity: entity, Version: int64(i), Sum: sum, Copies: rapid.SampledFrom([]int{1, 1, 1, 2}).Draw(t, "copies")})
		}
		want := Writes{Checked: true}
		stale := 0
		known := func(st record.Stored) bool {
			return slices.ContainsFunc(rec.Requests, func(r record.Request) bool {
				return r.Write != nil && r.Sent > 0 && r.Write.Entity == st.Entity && r.Write.Version == st.Version
			})
		}
		for _, st := range rec.Stored {
			if !known(st) {
				want.Strange++
			}
		}
		for _, r := range rec.Requests {
			if w := r.Write; w != nil && r.Sent > 0 {
				copies, tampered := 0, 0
				for _, st := range rec.Stored {
					if st.Entity == w.Entity && st.Version == w.Version {
						copies += st.Copies
						if st.Sum != w.Sum {
							tampered = 1
						}
					}
				}
				want.Changed += tampered
				if copies > 1 {
					want.Doubled++
				}
				switch {
				case w.Acknowledged && copies == 0:
					want.Acknowledged, want.Lost = want.Acknowledged+1, want.Lost+1
				case w.Acknowledged:
					want.Acknowledged++
				case copies > 0:
					want.Unknown, want.Kept = want.Unknown+1, want.Kept+1
				default:
					want.Unknown++
				}
			}
			if r.Read == nil || r.Sent == 0 {
				continue
			}
			missed := int64(math.MinInt64)
			for _, other := range rec.Requests {
				if w := other.Write; w != nil && w.Acknowledged && w.Entity == r.Read.Entity && other.Done <= r.Sent {
					missed = max(missed, w.Version)
				}
			}
			if r.Read.Saw < missed {
				stale++
			}
		}
		v := mustJudge(t, rec)
		got := v.Writes
		shown := len(got.Examples)
		got.Examples = nil
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
		if wrong := want.Lost + want.Doubled + want.Changed + want.Strange; (shown > 0) != (wrong > 0) || shown > 4*examples {
			t.Fatalf("%d examples of %d", shown, wrong)
		}
		if v.StaleReads != stale || len(v.Stale) != min(stale, examples) {
			t.Fatalf("%d stale reads, %d told, want %d", v.StaleReads, len(v.Stale), stale)
		}
	})
}
