package claim

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/nines-ha/nines/record"
)

const examples = 10 // of each kind of what is wrong

// A writing is one version of an entity, as it was sent and as it was found.
type writing struct {
	requests []*record.Request // that sent it; one
	copies   int
	sums     []string // that were found
}

type version struct {
	entity string
	number int64
}

// writes compares what was sent with what was found. What was never sent out
// cannot be stored; what was sent and not acknowledged may be.
func (q *inquiry) writes() Writes {
	w := Writes{Checked: q.End != nil && q.End.ReadBack}
	all := map[version]*writing{}
	var order []*writing
	for _, r := range q.attempts {
		if r.Write == nil || r.Sent == 0 && !r.Write.Acknowledged {
			continue
		}
		key := version{r.Write.Entity, r.Write.Version}
		if all[key] == nil {
			all[key] = &writing{}
			order = append(order, all[key])
		}
		all[key].requests = append(all[key].requests, r)
	}
	for _, s := range q.Stored {
		found := all[version{s.Entity, s.Version}]
		if found == nil {
			w.Strange++
			if len(w.Examples) < examples {
				w.Examples = append(w.Examples, Case{Op: "write", Result: "strange", Story: fmt.Sprintf("version %d of %s is stored and was never sent", s.Version, s.Entity)})
			}
			continue
		}
		found.copies += max(s.Copies, 1)
		found.sums = append(found.sums, s.Sum)
	}
	if !w.Checked {
		w.Strange, w.Examples = 0, nil
	}
	for _, one := range order {
		q.compare(one, &w)
	}
	return w
}

func (q *inquiry) compare(one *writing, w *Writes) {
	r, acknowledged := one.requests[0], false
	for _, other := range one.requests {
		if other.Write.Acknowledged && !acknowledged {
			r, acknowledged = other, true
		}
	}
	if acknowledged {
		w.Acknowledged++
	} else {
		w.Unknown++
	}
	if !w.Checked {
		return
	}
	wrong := func(n *int, what, story string) {
		*n++
		if *n <= examples {
			c := tell(r)
			c.Result, c.Story = what, fmt.Sprintf("version %d of %s %s", r.Write.Version, r.Write.Entity, story)
			w.Examples = append(w.Examples, c)
		}
	}
	switch {
	case one.copies == 0 && acknowledged:
		wrong(&w.Lost, "lost", fmt.Sprintf("was acknowledged %s and is not stored%s", since(q, r.Done), ackBy(r)))
		return
	case one.copies == 0:
		return
	case !acknowledged:
		w.Kept++
	}
	if one.copies > 1 {
		wrong(&w.Doubled, "doubled", fmt.Sprintf("is stored %d times", one.copies))
	}
	for _, sum := range one.sums {
		if !slices.ContainsFunc(one.requests, func(r *record.Request) bool { return r.Write.Sum == sum }) {
			wrong(&w.Changed, "changed", fmt.Sprintf("was sent with the sum %s and is stored with %s", quoted(r.Write.Sum), quoted(sum)))
			break
		}
	}
}

func ackBy(r *record.Request) string {
	if r.Pod == "" {
		return ""
	}
	return "; " + r.Pod + " acknowledged it"
}

// stale finds reads that missed a write that was acknowledged before they were
// sent.
func (q *inquiry) stale() (int, []Case) {
	type acknowledged struct {
		done   time.Duration
		newest int64 // of this one and all before
		by     *record.Request
	}
	writes := map[string][]acknowledged{}
	for _, r := range q.attempts {
		if r.Write != nil && r.Write.Acknowledged {
			writes[r.Write.Entity] = append(writes[r.Write.Entity], acknowledged{r.Done, r.Write.Version, r})
		}
	}
	for _, list := range writes {
		slices.SortStableFunc(list, func(a, b acknowledged) int { return cmp.Compare(a.done, b.done) })
		for i := 1; i < len(list); i++ {
			if list[i].newest < list[i-1].newest {
				list[i].newest, list[i].by = list[i-1].newest, list[i-1].by
			}
		}
	}
	n := 0
	var cases []Case
	for _, r := range q.attempts {
		if r.Read == nil || r.Sent == 0 || r.Failed() && r.Status != 404 {
			continue
		}
		list := writes[r.Read.Entity]
		i := sort.Search(len(list), func(i int) bool { return list[i].done > r.Sent })
		if i == 0 || r.Read.Saw >= list[i-1].newest {
			continue
		}
		if n++; n <= examples {
			c, missed := tell(r), list[i-1].by
			c.Story = fmt.Sprintf("saw version %d of %s; version %d was acknowledged %s before by %s", r.Read.Saw, r.Read.Entity, missed.Write.Version, lasting(r.Sent-missed.Done), cmp.Or(missed.Pod, "a pod"))
			cases = append(cases, c)
		}
	}
	return n, cases
}
