package claim

import (
	"fmt"
	"math"
	"time"

	"github.com/nines-ha/nines/record"
)

// still is how near the end of the window a request that the fault cost means
// that it was not over.
const still = time.Second

func (q *inquiry) times(c Requests) Times {
	if !q.injected {
		return Times{At: -1, Detect: -1, Recover: -1, Restored: -1}
	}
	t := Times{At: q.window.from, Detect: -1, Recover: q.recovered(), Restored: q.back(), Outage: q.outage(c)}
	if at, e := q.detected(); e != nil {
		t.Detect = at - q.window.from
		t.DetectBy = sign(e)
	}
	return t
}

// outage is the failures of the window put together: so long would all requests
// have to fail for as many.
func (q *inquiry) outage(c Requests) time.Duration {
	rate := q.Header.Load.In()
	if !(rate > 0) || math.IsInf(rate, 0) {
		if c.Total == 0 {
			return 0
		}
		rate = float64(c.Total) / q.window.length().Seconds()
	}
	seconds := float64(c.Failed) / rate
	return time.Duration(min(seconds, farthest.Seconds()) * float64(time.Second))
}

// recovered is when the last request of the window was over that the fault cost;
// 0 if it cost none, -1 if it still cost some at the end.
func (q *inquiry) recovered() time.Duration {
	var last time.Duration
	for _, s := range q.suspects {
		switch q.blames[s.Request].cause {
		case Machine, Generator, Unattributed:
			continue
		}
		if !q.window.has(s.Scheduled) {
			continue
		}
		if s.Scheduled >= q.window.to-still {
			return -1
		}
		last = max(last, s.Done-q.window.from)
	}
	return last
}

// back is when all replicas were ready for good: the end of the last stretch of
// the window in which some were missing, or the first instant after the window
// at which none was.
func (q *inquiry) back() time.Duration {
	steps, want := q.history.ready, q.Header.Service.Replicas
	if len(steps) == 0 || want <= 0 {
		return -1
	}
	missing := numberAt(steps, q.window.from) < want
	var last time.Duration
	for _, s := range steps {
		if s.at <= q.window.from {
			continue
		}
		if s.at >= q.window.to && !missing {
			break
		}
		if missing && s.n >= want {
			last = s.at - q.window.from
		}
		missing = s.n < want
	}
	if missing {
		return -1
	}
	return last
}

// detected is the first turn after the fault by which the platform shows that it
// knows: what Kubernetes thinks of a node, what it tells of an endpoint, or what
// the load balancer's probes say.
func (q *inquiry) detected() (time.Duration, *record.Event) {
	known := q.lostNodes()
	for _, e := range q.events {
		at := e.At
		if at < q.window.from && e.Seen >= q.window.from && q.window.from-at < slack {
			at = e.Seen // it is told to the second
		}
		if at < q.window.from || at >= q.window.to || !notices(e) {
			continue
		}
		if node := q.nodeOf(e); len(known) > 0 && !known[node] {
			continue
		}
		return at, e
	}
	return 0, nil
}

func notices(e *record.Event) bool {
	switch e.Kind {
	case record.Backend:
		return e.State == "down"
	case record.Endpoint, record.GatewayKind:
		return e.State == "unready" || e.State == "terminating" || e.State == "gone"
	case record.NodeKind:
		return e.State == "not-ready" || e.State == "unknown" || e.State == "deleted"
	case record.Impaired:
		return e.State == record.Spared
	}
	return false
}

func (q *inquiry) nodeOf(e *record.Event) string {
	switch {
	case e.Kind == record.Endpoint || e.Kind == record.GatewayKind || e.Kind == record.Pod:
		return q.history.homes[e.Name]
	case e.Node != "":
		return e.Node
	default:
		return e.Name
	}
}

// lostNodes are those that went away in the window; none if the fault was of
// another kind.
func (q *inquiry) lostNodes() map[string]bool {
	lost := map[string]bool{}
	for node := range q.history.zones {
		if s, _, ok := q.history.lost(node, span{q.window.from, q.window.to - 1}); ok && s.from >= q.window.from-slack {
			lost[node] = true
		}
	}
	return lost
}

func sign(e *record.Event) string {
	switch e.Kind {
	case record.Backend:
		return "load balancer: " + e.Name + " " + e.State
	case record.NodeKind:
		return "node " + e.Name + " " + e.State
	case record.Impaired:
		return "pod " + e.Name + " gets no more requests"
	default:
		return fmt.Sprintf("%s %s %s", e.Kind, e.Name, e.State)
	}
}
