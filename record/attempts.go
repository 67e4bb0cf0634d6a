package record

import (
	"cmp"
	"slices"
)

// Merge puts the attempts of each request together. The first result has one
// Request for each request, in the order of the first attempts: the attempt itself
// where there is only one, and otherwise a new one that tells what came of it in
// the end, with the ID and the Scheduled of the first attempt, so that its Latency
// is the whole of it. The second has the attempts of the latter, in order. What
// names a first attempt that is not there belongs to a request without one.
func Merge(all []*Request) (whole []*Request, attempts map[*Request][]*Request) {
	if !slices.ContainsFunc(all, func(r *Request) bool { return r.Of != "" }) {
		return all, nil
	}
	later := map[string][]*Request{}
	firsts := make(map[string]bool, len(all))
	for _, r := range all {
		if r.Of != "" {
			later[r.Of] = append(later[r.Of], r)
		} else {
			firsts[r.ID] = true
		}
	}
	attempts = make(map[*Request][]*Request, len(later))
	for _, r := range all {
		id, chain := r.ID, []*Request(nil)
		switch {
		case r.Of == "":
			if len(later[id]) > 0 {
				chain = append([]*Request{r}, inTurn(later[id])...)
			}
		case firsts[r.Of] || later[r.Of] == nil:
			continue // told with its first attempt
		default:
			id, chain = r.Of, inTurn(later[r.Of])
		}
		delete(later, id) // an ID that is there twice has its attempts once
		if len(chain) == 0 {
			whole = append(whole, r)
			continue
		}
		one := *chain[len(chain)-1]
		one.ID, one.Of, one.Retries, one.Again = id, "", len(chain)-1, false
		one.Scheduled, one.Taken, one.Waited = chain[0].Scheduled, chain[0].Taken, chain[0].Waited
		whole = append(whole, &one)
		attempts[&one] = chain
	}
	return whole, attempts
}

func inTurn(attempts []*Request) []*Request {
	slices.SortStableFunc(attempts, func(a, b *Request) int {
		return cmp.Or(cmp.Compare(a.Retries, b.Retries), cmp.Compare(a.Scheduled, b.Scheduled), cmp.Compare(a.ID, b.ID))
	})
	return attempts
}
