package claim

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"github.com/nines-ha/nines/record"
)

const (
	mostBuckets = 60
	mostMarks   = 20
)

// timeline cuts the time of the load into slices of a second, or into sixty if
// that is longer.
func (q *inquiry) timeline() []Bucket {
	if len(q.requests) == 0 {
		return []Bucket{}
	}
	first := q.load.from
	whole := q.requests[len(q.requests)-1].Scheduled - first + 1
	length := max(time.Second, (whole+mostBuckets-1)/mostBuckets)
	var buckets []Bucket
	for i, at := 0, first; i < len(q.requests); at += length {
		from := i
		for i < len(q.requests) && q.requests[i].Scheduled < at+length {
			i++
		}
		buckets = append(buckets, q.bucket(at, length, q.requests[from:i]))
	}
	return buckets
}

func (q *inquiry) bucket(at, length time.Duration, requests []*record.Request) Bucket {
	b := Bucket{At: at, Length: length, Requests: len(requests), Ready: numberAt(q.history.ready, at+length-1)}
	for _, r := range requests {
		switch {
		case r.Failed():
			b.Failed++
		case q.slow > 0 && r.Latency() > q.slow:
			b.Slow++
		}
	}
	l := quantiles(goodLatencies(requests))
	b.P50, b.P99 = l.P50, l.P99
	return b
}

// marks are the phases, and the turns that tell most.
func (q *inquiry) marks() []Mark {
	type ranked struct {
		Mark
		rank int
	}
	var all []ranked
	for _, p := range q.phases {
		text := p.Name
		if p.Text != "" {
			text += ": " + p.Text
		}
		all = append(all, ranked{Mark{p.At, "phase", text}, 0})
	}
	for _, e := range q.events {
		if rank := q.telling(e); rank > 0 && q.injected && e.At >= q.window.from {
			all = append(all, ranked{Mark{e.At, e.Kind, label(e)}, rank})
		}
	}
	slices.SortStableFunc(all, func(a, b ranked) int { return cmp.Compare(a.rank, b.rank) })
	all = all[:min(len(all), mostMarks)]
	marks := make([]Mark, len(all))
	for i, m := range all {
		marks[i] = m.Mark
	}
	sort.SliceStable(marks, func(i, j int) bool { return marks[i].At < marks[j].At })
	return marks
}

// telling ranks a turn: the lower the more it tells, 0 nothing.
func (q *inquiry) telling(e *record.Event) int {
	switch e.Kind {
	case record.Fault:
		return 1
	case record.Zone:
		return 2
	case record.Machine:
		return 3
	case record.Part:
		if q.storeOf(e.Name) != "" {
			return 3
		}
		return 7
	case record.Probe:
		if e.State == record.Admitted {
			return 3
		}
	case record.Backend:
		if e.State == "up" || e.State == "down" {
			return 4
		}
	case record.NodeKind:
		return 5
	case record.Endpoint, record.GatewayKind:
		return 6
	case record.Pod:
		if e.State == "ended" {
			return 7
		}
	}
	return 0
}

func label(e *record.Event) string {
	if e.Kind == record.Fault && e.Text != "" {
		return e.Text
	}
	return sign(e)
}
