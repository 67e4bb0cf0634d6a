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

// copiesTo begins the name of a claim, of which there is one for each service that
// gets copies.
const copiesTo = "copies to "

// shared is about who answers, and about copies.
func (q *inquiry) shared(p *record.Shared, add adder) {
	q.weights(p, add)
	if p.Headed {
		q.headed(p, add)
	}
	for _, service := range slices.Sorted(maps.Keys(p.Copies)) {
		q.copied(p, service, add)
	}
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
	var want, got []string
	open, far := false, false
	for _, name := range slices.SortedFunc(maps.Keys(p.Weights), func(a, b string) int { return cmp.Or(cmp.Compare(p.Weights[b], p.Weights[a]), cmp.Compare(a, b)) }) {
		weight := p.Weights[name]
		if weight == 0 {
			continue
		}
		share := available(total, total-counts[name])
		want = append(want, fmt.Sprintf("%s %s", name, wording.Share(weight)))
		got = append(got, fmt.Sprintf("%s %s", name, wording.Share(share)))
		differs, doubtful := differ(share, weight, p.Tolerance, total)
		far, open = far || differs, open || doubtful
	}
	strangers := 0
	for name, n := range counts {
		if p.Weights[name] == 0 {
			strangers += n
		}
	}
	text := fmt.Sprintf("%s of %s", strings.Join(got, ", "), wording.Several(total, "answer", "answers"))
	if strangers > 0 {
		text += fmt.Sprintf("; %s by others", wording.Several(strangers, "was", "were"))
	}
	c := add("weights", fmt.Sprintf("%s, ± %s points", strings.Join(want, ", "), wording.Decimal(p.Tolerance*100, 3)), text, !far && strangers == 0)
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
	if c := add("header", "each request with a header where it belongs", got, astray == 0); total == 0 {
		c.Outcome = Inconclusive
	}
}

// copied holds what arrived at a service between the first two counts against the
// requests of that time. One whose answer is a proxy's own was copied too.
func (q *inquiry) copied(p *record.Shared, service string, add adder) {
	want := fmt.Sprintf("%s of the requests, ± %s points", wording.Share(p.Copies[service]), wording.Decimal(copyTolerance*p.Tolerance*100, 3))
	var counts []*record.Event
	for _, e := range q.events {
		if e.Kind == record.Copies && e.Name == service && e.State == record.Counted && q.injected && q.window.has(e.At) {
			counts = append(counts, e)
		}
	}
	name := copiesTo + service
	if len(counts) < 2 {
		add(name, want, "it was not counted twice what arrived", false).Outcome = Inconclusive
		return
	}
	during := span{counts[0].At, counts[1].At}
	n := 0
	for _, r := range q.attempts {
		if r.To == "" && r.Sent > 0 && during.has(r.Sent) {
			n++
		}
	}
	copies := counts[1].Count - counts[0].Count
	share := float64(copies) / float64(max(n, 1))
	far, open := differ(share, p.Copies[service], copyTolerance*p.Tolerance, n)
	c := add(name, want, fmt.Sprintf("%s: %s of %s in %s", wording.Share(share), wording.Count(copies), wording.Count(n), lasting(during.length())), !far)
	if open && c.Outcome == Held || n == 0 {
		c.Outcome = Inconclusive
		c.Got += "; too few to tell"
	}
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

// isCopy tells whether what a proxy says is of a copy, which is not on the way of
// the request that it is a copy of.
func (q *inquiry) isCopy(h *record.Hop) bool {
	names := map[string]float64{q.Header.Service.Name: 0}
	for _, share := range q.Header.Service.Traffic {
		names[share.Service] = 0
	}
	of := served(h.Pod, names)
	return slices.ContainsFunc(q.Header.Service.Traffic, func(s record.Share) bool {
		return s.Service == of && s.Mirror > 0 && s.Weight == 0 && len(s.Headers) == 0
	})
}
