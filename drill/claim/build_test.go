package claim

import (
	"fmt"
	"testing"
	"time"

	"github.com/nines-ha/nines/record"
)

const (
	ms = time.Millisecond
	s  = time.Second
)

// A script is a record made by hand: three replicas on three nodes in three
// zones, 100 requests a second for 30 s, the fault at 5 s, a window of 20 s.
type script struct {
	*record.Record
	t *testing.T
}

func newScript(t *testing.T) *script {
	b := &script{t: t, Record: &record.Record{
		Header: &record.Header{
			Version: record.Version, Drill: "pod-kill", System: "fleet", Region: "eu", Local: true,
			Service: record.Service{Name: "vehicle", Replicas: 3, Least: 2},
			Stores:  []string{"telemetry"},
			Load:    record.Load{Rate: 100},
			Window:  record.Window{Length: 20 * s},
			Promise: record.Promise{Slow: 300 * ms},
		},
		End: &record.End{At: 32 * s, ReadBack: true},
	}}
	b.phase(0, record.Warm)
	b.phase(2*s, record.Steady)
	b.phase(5*s, record.Inject)
	b.phase(6*s, record.Injected)
	b.phase(31*s, record.Restored)
	for i := 1; i <= 3; i++ {
		node, zone, pod := fmt.Sprintf("n%d", i), fmt.Sprintf("eu-%d", i), fmt.Sprintf("p%d", i)
		b.Header.Nodes = append(b.Header.Nodes, record.Node{Name: node, Zone: zone})
		b.event(0, record.Zone, zone, "joined")
		b.event(0, record.Machine, node, "running")
		b.event(0, record.NodeKind, node, "ready")
		b.event(0, record.Backend, node, "up")
		b.on(0, record.Pod, pod, "ready", node)
		b.on(0, record.Endpoint, pod, "ready", node)
	}
	b.event(0, record.Part, "eu/telemetry", "ready")
	for i := range 3000 {
		at := time.Duration(i) * 10 * ms
		who := i%3 + 1
		b.Requests = append(b.Requests, record.Request{
			ID: fmt.Sprintf("r%d", i), Client: i % 30, Op: "write", Scheduled: at, Taken: at, Sent: at + ms, First: at + 4*ms, Done: at + 5*ms,
			Status: 200, Conn: fmt.Sprintf("c%d", i%30), Reused: i >= 30,
			Pod: fmt.Sprintf("p%d", who), Node: fmt.Sprintf("n%d", who), Zone: fmt.Sprintf("eu-%d", who),
			Write: &record.Write{Entity: fmt.Sprintf("v%d", i%30), Version: int64(i + 1), Sum: fmt.Sprint("s", i), Acknowledged: true},
		})
		b.Stored = append(b.Stored, record.Stored{Entity: fmt.Sprintf("v%d", i%30), Version: int64(i + 1), Sum: fmt.Sprint("s", i), Copies: 1})
	}
	for i := range 30 {
		b.Seconds = append(b.Seconds, record.Second{At: time.Duration(i) * s, Scheduled: 100, Answered: 100, CPU: 0.4})
	}
	return b
}

func (b *script) phase(at time.Duration, name string) {
	b.Phases = append(b.Phases, record.Phase{At: at, Name: name})
}

func (b *script) event(at time.Duration, kind, name, state string) *record.Event {
	b.Events = append(b.Events, record.Event{At: at, Kind: kind, Name: name, State: state})
	return &b.Events[len(b.Events)-1]
}

func (b *script) on(at time.Duration, kind, name, state, node string) {
	b.event(at, kind, name, state).Node = node
}

// at is the request that was due then.
func (b *script) at(at time.Duration) *record.Request {
	b.t.Helper()
	r := &b.Requests[int(at/(10*ms))]
	if r.Scheduled != at {
		b.t.Fatalf("no request was due at %s", at)
	}
	return r
}

// fail makes the request that was due then end in a failure. Its write may be
// stored or not.
func (b *script) fail(at time.Duration, class record.Class, after time.Duration) *record.Request {
	r := b.at(at)
	r.Error, r.Status, r.First, r.Done = class, 0, 0, at+after
	r.Pod, r.Node, r.Zone = "", "", ""
	r.Write.Acknowledged = false
	switch class {
	case record.ConnectFailed, record.ConnectRefused, record.ConnectTimeout:
		r.Conn, r.Reused, r.Sent = "", false, 0
	}
	return r
}

func (b *script) answer(at time.Duration, status int, detail string) *record.Request {
	r := b.at(at)
	r.Status, r.Detail = status, detail
	r.Write.Acknowledged = false
	return r
}

// late makes n requests be taken up late, from 12 s on.
func (b *script) late(n int, by time.Duration) {
	for i := range n {
		r := b.at(12*s + time.Duration(i)*10*ms)
		r.Taken, r.Sent, r.Done = r.Scheduled+by, r.Scheduled+by+ms, r.Scheduled+by+5*ms
	}
}

// only makes one pod answer all that is due from an instant on.
func (b *script) only(from time.Duration, pod, node string) {
	for i := range b.Requests {
		if r := &b.Requests[i]; r.Scheduled >= from && r.Pod != "" {
			r.Pod, r.Node = pod, node
		}
	}
}

func (b *script) slow(at, took time.Duration) *record.Request {
	r := b.at(at)
	r.Done = at + took
	return r
}

// recount makes the generator's own counts those of the requests there are.
func recount(rec *record.Record) {
	if len(rec.Seconds) == 0 {
		return
	}
	for i := range rec.Seconds {
		rec.Seconds[i].Scheduled, rec.Seconds[i].Failed, rec.Seconds[i].Retried = 0, 0, 0
	}
	for _, w := range wholes(rec) {
		second := &rec.Seconds[max(0, min(int(w.due/s), len(rec.Seconds)-1))]
		second.Scheduled++
		second.Retried += w.attempts - 1
		if w.failed {
			second.Failed++
		}
	}
}

// whole is a request with all its attempts, as a test sees it: by looking at every
// line for each.
type whole struct {
	due, took   time.Duration
	attempts    int
	failed      bool // in the end
	firstFailed bool
}

func wholes(rec *record.Record) (all []whole) {
	bad := func(r record.Request) bool {
		return r.Error != "" || (r.Status < 200 || r.Status > 299) && r.Status != 304
	}
	place := map[string]int{}
	for _, r := range rec.Requests {
		if r.Of == "" {
			place[r.ID] = len(all)
			all = append(all, whole{r.Scheduled, r.Done - r.Scheduled, 1, bad(r), bad(r)})
		}
	}
	latest := map[string]int{}
	for _, r := range rec.Requests {
		i, ok := place[r.Of]
		if r.Of == "" || !ok {
			continue
		}
		w := &all[i]
		w.attempts++
		if r.Retries > latest[r.Of] {
			latest[r.Of] = r.Retries
			w.took, w.failed = r.Done-w.due, bad(r)
		}
	}
	return all
}

// tryAgain makes the request that was due then be tried again so many times,
// always failing in the same way, but for the last: then it is answered well if
// saved.
func (b *script) tryAgain(at time.Duration, times int, saved bool) (all []*record.Request) {
	b.t.Helper()
	first := *b.at(at)
	b.Header.Load.Retry = &record.Retry{Attempts: 3, Timeout: s, BackoffMin: 200 * ms, BackoffMax: 2 * s}
	b.at(at).Again = true
	before := first
	for n := 1; n <= times; n++ {
		r := first
		r.ID, r.Of, r.Retries, r.Again = fmt.Sprintf("%s.%d", first.ID, n), first.ID, n, n < times
		r.Scheduled = before.Done + 300*ms
		r.Taken, r.Done = r.Scheduled, r.Scheduled+first.Latency()
		if r.Sent > 0 {
			r.Sent = r.Scheduled + ms
		}
		write := *first.Write
		r.Write = &write
		if n == times && saved {
			r.Error, r.Status, r.Detail, r.Pod, r.Node, r.Conn, r.Reused = "", 200, "", "p2", "n2", "fresh", false
			r.Sent, r.First, r.Done = r.Scheduled+ms, r.Scheduled+4*ms, r.Scheduled+5*ms
			write.Acknowledged = true
		}
		b.Requests = append(b.Requests, r)
		before = r
	}
	for i := len(b.Requests) - times; i < len(b.Requests); i++ {
		all = append(all, &b.Requests[i])
	}
	return all
}

func (b *script) judge() *Verdict {
	b.t.Helper()
	recount(b.Record)
	return b.judgeAsIs()
}

// judgeAsIs leaves it to the test what the generator counted.
func (b *script) judgeAsIs() *Verdict {
	b.t.Helper()
	v, err := Judge(b.Record)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

func claimNamed(t *testing.T, v *Verdict, name string) Claim {
	t.Helper()
	for _, c := range v.Claims {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no claim %s among %v", name, v.Claims)
	return Claim{}
}

func number(n int) *int { return &n }
