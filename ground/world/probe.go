package world

import (
	"context"
	"fmt"
	"net/http"

	"github.com/nines-ha/nines/ground/probe"
)

const maxProbes = 16 // at once, of a region

func (w *World) answerProbe(rw http.ResponseWriter, req *http.Request) {
	r, what, ok := asked[probe.Probe](w, rw, req)
	if !ok {
		return
	}
	got, err := r.probe(req.Context(), what)
	if err != nil {
		answer(rw, err)
		return
	}
	tell(rw, got)
}

// probe tries one exchange from the network of a pod.
func (r *region) probe(ctx context.Context, what probe.Probe) (probe.Answer, error) {
	if r.probes.Add(1) > maxProbes {
		r.probes.Add(-1)
		return probe.Answer{}, fmt.Errorf("region %s has %d probes under way, and there may be no more", r.spec.Name, maxProbes)
	}
	defer r.probes.Add(-1)
	_, pid, err := r.holderOf(ctx, what.Namespace, what.Pod)
	if err != nil {
		return probe.Answer{}, err
	}
	return probe.Try(ctx, pid, what)
}
