package claim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nines-ha/nines/internal/wording"
	"github.com/nines-ha/nines/record"
)

// telling is how many requests a pod must be due in the time after which it counts
// as spared: with fewer, nobody may have wanted anything of it.
const telling = 10

// spareAfter is what record.Spared says: no request for so long.
const spareAfter = 2 * time.Second

// ejected is about what reached the pod that is unwell, as was counted there, and
// not about what clients saw: who tries again elsewhere hides it from them. The
// first stretch without requests ends it; that it is tried again later, to see
// whether it is well, is as it should be.
func (q *inquiry) ejected(within time.Duration, add adder) {
	want := "no request after " + exactly(within)
	var turns []*record.Event
	for _, e := range q.events {
		if e.Kind == record.Impaired {
			turns = append(turns, e)
		}
	}
	open := func(got string) { add("ejected", want, got, false).Outcome = Inconclusive }
	expected := q.Header.Load.In() * spareAfter.Seconds() / float64(max(q.Header.Service.Replicas, 1))
	switch broken := slices.IndexFunc(turns, func(e *record.Event) bool { return e.State == record.Broken }); {
	case !q.injected || len(turns) == 0:
		open("it is not known which requests reached it")
		return
	case broken >= 0:
		open("what counted its requests ended: " + turns[broken].Reason)
		return
	case !(expected >= telling):
		open(fmt.Sprintf("the load is too low to tell: some %.1f requests in %s", expected, lasting(spareAfter)))
		return
	}
	pods := map[string]bool{}
	var last time.Duration
	for _, e := range turns {
		if e.State == record.Spared && !pods[e.Name] && e.At < q.window.to {
			pods[e.Name] = true
			last = max(last, e.At-q.window.from)
		}
	}
	for _, e := range turns {
		if !pods[e.Name] {
			add("ejected", want, "pod "+e.Name+" got requests all along", false)
			return
		}
	}
	add("ejected", want, "the last came after "+lasting(last), last <= within)
}

// meshed is about the pods of the service after new ones had to be made.
func (q *inquiry) meshed(add adder) {
	var outside []string
	n := 0
	for _, e := range q.events {
		if e.Kind != record.Mesh {
			continue
		}
		if n++; e.State == record.Outside {
			outside = append(outside, e.Name)
		}
	}
	const want = "no pod outside the mesh"
	switch {
	case n == 0:
		add("meshed", want, "it is not known which pods are in the mesh", false).Outcome = Inconclusive
	case len(outside) > 0:
		add("meshed", want, fmt.Sprintf("%d of %s: %s", len(outside), wording.Several(n, "pod", "pods"), strings.Join(outside, ", ")), false)
	default:
		add("meshed", want, fmt.Sprintf("none of %s", wording.Several(n, "pod", "pods")), true)
	}
}
