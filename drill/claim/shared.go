package claim

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/nines-ha/nines/internal/wording"
	"github.com/nines-ha/nines/record"
)

// sure is how many standard deviations chance may take: farther, it takes one in
// 370.
const sure = 3

// copyTolerance is how much more the share of copies may differ than that of
// answers. They are counted for a part of the window, at moments that lie between
// requests.
const copyTolerance = 3

// shared is about who answers, and about copies.
func (q *inquiry) shared(p *record.Shared, add adder) {
	q.weights(p, add)
	if p.Headed {
		q.headed(p, add)
	}
	if len(p.Copies) > 0 {
		q.copies(p, add)
	}
}

func within(tolerance float64) string {
	if tolerance == 0.01 {
		return "each within 1 point"
	}
	return "each within " + wording.Decimal(tolerance*100, 3) + " points"
}

// of says a share and what it should be: "9.987 of 10 %".
func of(got, want float64) string {
	return strings.TrimSuffix(wording.Share(got), " %") + " of " + wording.Share(want)
}

// weights counts each attempt of the window that somebody answered: a proxy draws
// anew for each, and an answer of a proxy itself is nobody's.
func (q *inquiry) weights(p *record.Shared, add adder) {
	counts, total := map[string]int{}, 0
	for _, r := range q.answers() {
		if r.To == "" {
			counts[served(r.Pod, p.Weights)]++
			total++
		}
	}
	var got []string
	open, far := false, false
	for _, name := range slices.SortedFunc(maps.Keys(p.Weights), func(a, b string) int { return cmp.Or(cmp.Compare(p.Weights[b], p.Weights[a]), cmp.Compare(a, b)) }) {
		weight := p.Weights[name]
		if weight == 0 {
			continue
		}
		share := available(total, total-counts[name])
		got = append(got, name+" "+of(share, weight))
		differs, doubtful := differ(share, weight, p.Tolerance, total)
		far, open = far || differs, open || doubtful
	}
	strangers := 0
	for name, n := range counts {
		if p.Weights[name] == 0 {
			strangers += n
		}
	}
	text := fmt.Sprintf("%s, of %s", strings.Join(got, ", "), wording.Several(total, "answer", "answers"))
	if strangers > 0 {
		text += fmt.Sprintf("; %s by others", wording.Several(strangers, "was", "were"))
	}
	c := add("weights", within(p.Tolerance), text, !far && strangers == 0)
	if open && c.Outcome == Held || total == 0 {
		c.Outcome = Inconclusive
		c.Got += "; too few to tell"
	}
}

// differ tells whether a share is too far from what it should be, or whether there
// are too few to say that it is not: a share of so few may be off by chance.
func differ(got, want, tolerance float64, n int) (far, open bool) {
	chance := sure * math.Sqrt(want*(1-want)/float64(max(n, 1)))
	off := math.Abs(got - want)
	if chance > tolerance {
		return off > tolerance+chance, off <= tolerance+chance
	}
	return off > tolerance, false
}

// headed is about requests that carry the headers of a service.
func (q *inquiry) headed(p *record.Shared, add adder) {
	total, astray := 0, 0
	first := ""
	for _, r := range q.answers() {
		if r.To == "" {
			continue
		}
		total++
		if by := served(r.Pod, p.Weights); by != r.To {
			if astray++; first == "" {
				first = fmt.Sprintf("; %s was for %s, and pod %s answered", r.ID, r.To, r.Pod)
			}
		}
	}
	got := fmt.Sprintf("%s of %s elsewhere%s", none(astray), wording.Several(total, "answer", "answers"), first)
	if c := add("header", "each where it belongs", got, astray == 0); total == 0 {
		c.Outcome = Inconclusive
	}
}

// copies holds what arrived at a service between the first two counts against the
// requests of that time. One whose answer is a proxy's own was copied too.
func (q *inquiry) copies(p *record.Shared, add adder) {
	tolerance := copyTolerance * p.Tolerance
	var got []string
	open, far := false, false
	for _, service := range slices.Sorted(maps.Keys(p.Copies)) {
		counts := q.counts(service)
		if len(counts) < 2 {
			open = true
			got = append(got, service+" was not counted twice")
			continue
		}
		during, n := span{counts[0].At, counts[1].At}, 0
		for _, r := range q.attempts {
			if r.To == "" && r.Sent > 0 && during.has(r.Sent) {
				n++
			}
		}
		copies := counts[1].Count - counts[0].Count
		share := float64(copies) / float64(max(n, 1))
		differs, doubtful := differ(share, p.Copies[service], tolerance, n)
		far, open = far || differs, open || doubtful
		got = append(got, fmt.Sprintf("%s %s (%s of %s in %s)", service, of(share, p.Copies[service]), wording.Count(copies), wording.Count(n), lasting(during.length())))
	}
	if c := add("copies", within(tolerance), strings.Join(got, ", "), !far); open && c.Outcome == Held {
		c.Outcome = Inconclusive
		c.Got += "; too few to tell"
	}
}

// counts are those of the window of what has arrived at a service.
func (q *inquiry) counts(service string) (counts []*record.Event) {
	for _, e := range q.events {
		if e.Kind == record.Copies && e.Name == service && e.State == record.Counted && q.injected && q.window.has(e.At) {
			counts = append(counts, e)
		}
	}
	return counts
}

// answers are the attempts of the window that a pod answered.
func (q *inquiry) answers() (answered []*record.Request) {
	for _, r := range q.attempts {
		if q.injected && q.window.has(r.Scheduled) && r.Status != 0 && r.Pod != "" {
			answered = append(answered, r)
		}
	}
	return answered
}

// served is the service that a pod is of: a Deployment's pods are called after it.
func served(pod string, services map[string]float64) string {
	of := ""
	for service := range services {
		if strings.HasPrefix(pod, service+"-") && len(service) > len(of) {
			of = service
		}
	}
	return of
}

// ofCopies gives what tells whether a proxy speaks of a copy, which is not on the
// way of the request that it is a copy of.
func (q *inquiry) ofCopies() func(h *record.Hop) bool {
	names, copied := map[string]float64{q.Header.Service.Name: 0}, map[string]bool{}
	for _, share := range q.Header.Service.Traffic {
		names[share.Service] = 0
		copied[share.Service] = share.Mirror > 0 && !share.Answers()
	}
	return func(h *record.Hop) bool { return copied[served(h.Pod, names)] }
}
