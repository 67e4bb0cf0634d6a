package world

import (
	"errors"
	"net/http"

	"github.com/nines-ha/nines/ground/balancer"
)

// Flow is where a region's load balancer sends a TCP flow.
type Flow = balancer.Flow

// answerFlows tells the flows that the load balancer of a region remembers.
func (w *World) answerFlows(rw http.ResponseWriter, req *http.Request) {
	r, err := w.region(req.PathValue("region"))
	if err != nil {
		answer(rw, err)
		return
	}
	r.cloud.mu.Lock()
	plane := r.cloud.plane
	r.cloud.mu.Unlock()
	if plane == nil {
		answer(rw, errors.New("the load balancer is not there yet"))
		return
	}
	flows, err := plane.Flows(req.Context())
	if err != nil {
		answer(rw, err)
		return
	}
	tell(rw, flows)
}
