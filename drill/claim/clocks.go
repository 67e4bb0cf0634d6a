package claim

import (
	"strings"
	"time"

	"github.com/nines-ha/nines/record"
)

// clocks lists the periods that are shorter here, and gives the outage as it
// would be with those of AKS. A clock adds to it where failures went on until
// its sign came: the difference of the periods, times the share of the requests
// that failed while it was waited for. A clock that nothing waited for, or that
// delays nothing that requests wait for, adds nothing.
func (q *inquiry) clocks(v *Verdict) ([]Clock, time.Duration) {
	var clocks []Clock
	// Clocks that delay the same sign run side by side: only the longest adds.
	longest := map[time.Duration]time.Duration{}
	for _, c := range q.Header.Clocks {
		clocks = append(clocks, Clock{Name: c.Name, Here: c.Here, AKS: c.AKS})
		more := c.AKS - c.Here
		if !q.injected || c.AKS <= 0 || c.AKS > farthest || c.Here < 0 || more <= 0 {
			continue
		}
		if sign, ok := q.signOf(c); ok {
			longest[sign] = max(longest[sign], time.Duration(float64(more)*q.failingUntil(c)))
		}
	}
	outage := v.Fault.Outage
	for _, more := range longest {
		outage += more
	}
	return clocks, outage
}

// failingUntil is the share of requests that failed from the fault to the sign
// of a clock, and 0 if that sign did not end the failing.
func (q *inquiry) failingUntil(c record.Clock) float64 {
	end, ok := q.signOf(c)
	if !ok {
		return 0
	}
	total, bad := 0, 0
	var last time.Duration = -1
	for _, r := range q.judged {
		if r.Scheduled >= end {
			break
		}
		total++
		if r.Failed() && q.awaits(r, c) {
			bad++
			last = r.Scheduled
		}
	}
	if total == 0 || last < end-still {
		return 0
	}
	return float64(bad) / float64(total)
}

// signOf is when what a clock delays had come: for detection the first notice of
// its kind, for capacity the last replica.
func (q *inquiry) signOf(c record.Clock) (time.Duration, bool) {
	kind := ""
	switch {
	case c.Delay == "":
		return 0, false
	case strings.Contains(c.Name, "node"), strings.Contains(c.Name, "Node"):
		kind = record.NodeKind
	case strings.Contains(c.Name, "balancer"):
		kind = record.Backend
	}
	if c.Delay == "capacity" {
		if kind == record.NodeKind && len(q.lostNodes()) == 0 {
			return 0, false
		}
		return q.firstBack()
	}
	for _, e := range q.events {
		if e.At >= q.window.from && e.At < q.window.to && notices(e) && (kind == "" || e.Kind == kind) {
			return e.At, true
		}
	}
	return 0, false
}

// firstBack is when some replica served again after none had.
func (q *inquiry) firstBack() (time.Duration, bool) {
	none := false
	for _, s := range q.history.serving {
		if s.at < q.window.from {
			continue
		}
		if s.n > 0 && none {
			return s.at, true
		}
		none = none || s.n == 0
	}
	return 0, false
}

// awaits tells whether a request failed for want of what a clock delays.
func (q *inquiry) awaits(r *record.Request, c record.Clock) bool {
	cause := q.blames[r].cause
	if c.Delay == "capacity" {
		return cause == NoEndpoint || cause == NodeDown || cause == BalancerUnaware
	}
	return cause == NodeDown || cause == BalancerUnaware || cause == NoEndpoint || cause == PodEnded
}
