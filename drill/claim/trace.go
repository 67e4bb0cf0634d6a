package claim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nines-ha/nines/internal/wording"
	"github.com/nines-ha/nines/record"
)

const (
	// skew is how far the clocks of two nodes may be apart, and how late a program
	// with little CPU may be to look at its own.
	skew = 50 * time.Millisecond

	// mostSpans is of one request, so that a record that claims too much is bearable.
	mostSpans = 256
)

// A traceTree is the spans of one request.
type traceTree struct {
	root  string // the client's span, which is not among them
	spans []*record.Span
	byID  map[string]*record.Span
}

// traces puts spans together, each once: who exports in vain does so again.
func (q *inquiry) traces(sane func(...time.Duration) bool) {
	q.trees = map[string]*traceTree{}
	for i := range q.Spans {
		s := &q.Spans[i]
		if s.ID == "" || s.Span == "" || !sane(s.At, s.Length) {
			continue
		}
		t := q.trees[s.ID]
		if t == nil {
			_, root := record.TraceOf(s.ID)
			t = &traceTree{root: root, byID: map[string]*record.Span{}}
			q.trees[s.ID] = t
		}
		if len(t.spans) < mostSpans && t.byID[s.Span] == nil {
			t.spans, t.byID[s.Span] = append(t.spans, s), s
		}
	}
	for _, t := range q.trees {
		slices.SortStableFunc(t.spans, func(a, b *record.Span) int {
			return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(b.Length, a.Length), cmp.Compare(a.Span, b.Span))
		})
	}
}

// way is a span with those that it is within, the innermost first; whole: the last
// of them is within the client's.
func (t *traceTree) way(s *record.Span) (way []*record.Span, whole bool) {
	for len(way) <= len(t.spans) {
		way = append(way, s)
		if s.Parent == t.root {
			return way, true
		}
		if s = t.byID[s.Parent]; s == nil {
			return way, false
		}
	}
	return way, false // in a ring
}

// places are what a trace must show, from the outermost to the innermost.
func (q *inquiry) places() []string {
	var places []string
	if q.Header.Gateway != nil {
		places = append(places, record.AtGateway)
	}
	if q.Header.Mesh {
		places = append(places, record.Inbound)
	}
	places = append(places, record.AtService)
	if len(q.Header.Stores) > 0 {
		places = append(places, record.AtStore)
	}
	return places
}

// untimely is what is wrong with a trace that is only out of time.
const untimely = "a span outside the time of the one it is within"

// flaw is why a trace is not one whole trace; "": it is.
func (t *traceTree) flaw(places []string) string {
	if t == nil {
		return "no span at all"
	}
	for _, place := range places {
		if !slices.ContainsFunc(t.spans, func(s *record.Span) bool { return s.Place == place }) {
			return "no span of the " + place
		}
	}
	tops, nested, timely := 0, false, true
	for _, s := range t.spans {
		way, whole := t.way(s)
		if !whole {
			return "a span of the " + s.Place + " without the one it is within"
		}
		nested = nested || passes(way, places)
		if len(way) == 1 {
			tops++
			continue
		}
		within := way[1]
		timely = timely && s.At >= within.At-skew && s.At+s.Length <= within.At+within.Length+skew
	}
	switch {
	case tops > 1:
		return "several outermost spans"
	case !nested:
		return "spans that are not within each other in the order " + strings.Join(places, ", ")
	case !timely:
		return untimely
	}
	return ""
}

// passes says whether a way from a span outwards goes by all places in their order.
func passes(way []*record.Span, places []string) bool {
	for _, s := range way {
		if len(places) > 0 && s.Place == places[len(places)-1] {
			places = places[:len(places)-1]
		}
	}
	return len(places) == 0
}

// traced is about the attempts of the window that asked to be traced and were
// answered well: each has a trace of its own.
func (q *inquiry) traced(least float64, add adder) {
	want := fmt.Sprintf("≥ %s %% of the traces whole", wording.Decimal(least*100, 6))
	flaws, examples := map[string]int{}, map[string]string{}
	total, broken, spared := 0, 0, 0
	places := q.places()
	for _, r := range q.attempts {
		if !q.injected || !q.window.has(r.Scheduled) || !r.Sampled || r.Failed() {
			continue
		}
		total++
		flaw := q.trees[r.ID].flaw(places)
		if flaw == "" {
			continue
		}
		broken++
		if flaw == untimely && q.busySecond(span{r.Scheduled, r.Done}) != nil {
			spared++
		}
		if flaws[flaw]++; flaws[flaw] == 1 {
			examples[flaw] = r.ID
		}
	}
	if total == 0 {
		add("traced", want, "no request that asked to be traced was answered", false).Outcome = Inconclusive
		return
	}
	got := fmt.Sprintf("%s (%s of %s not", wording.Share(available(total, broken)), none(broken), wording.Count(total))
	for i, flaw := range slices.SortedFunc(maps.Keys(flaws), func(a, b string) int { return cmp.Or(flaws[b]-flaws[a], cmp.Compare(a, b)) }) {
		const most = 3
		if i == most {
			got += "; …"
			break
		}
		got += fmt.Sprintf("; %s: %s, %s for one", wording.Count(flaws[flaw]), flaw, examples[flaw])
	}
	c := add("traced", want, got+")", available(total, broken) >= least)
	if q.End != nil && q.End.Untraced != "" && c.Outcome == Refuted {
		c.Outcome = Inconclusive
		q.doubt("spans may be missing: %s", q.End.Untraced)
		return
	}
	q.spare(c, available(total, broken-spared) >= least)
}

// tellTrace is the spans of a request, each below the one that it is within.
func (q *inquiry) tellTrace(r *record.Request, say sayer) {
	t := q.trees[r.ID]
	if t == nil {
		if r.Sampled {
			say(r.Sent, "trace", "it asked to be traced, and the record has no span of it")
		}
		return
	}
	told := map[*record.Span]bool{}
	var below func(parent string, depth int)
	tell := func(s *record.Span, depth int) {
		if told[s] {
			return
		}
		told[s] = true
		text := strings.Repeat("· ", depth) + cmp.Or(s.Place, "somewhere") + ": " + s.Name
		if s.Pod != "" {
			text += " at " + s.Pod
		}
		if text += ", " + lasting(s.Length); s.Failed {
			text += ", failed"
		}
		say(s.At, "trace", "%s", text)
		below(s.Span, depth+1)
	}
	below = func(parent string, depth int) {
		for _, s := range t.spans {
			if s.Parent == parent {
				tell(s, depth)
			}
		}
	}
	below(t.root, 0)
	for _, s := range t.spans {
		if !told[s] {
			say(s.At, "trace", "within a span that the record does not have:")
			tell(s, 1)
		}
	}
}
