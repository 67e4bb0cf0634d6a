package claim

import (
	"cmp"
	"slices"
	"time"

	"github.com/nines-ha/nines/record"
)

// frontOf is the kind of the endpoints at which clients' connections end: those of
// the mesh's gateway where there is one, those of the service otherwise.
func frontOf(header *record.Header, events []*record.Event) string {
	told := func(e *record.Event) bool { return e.Kind == record.GatewayKind }
	if header.Mesh && (header.Gateway != nil || slices.ContainsFunc(events, told)) {
		return record.GatewayKind
	}
	return record.Endpoint
}

// gated tells whether a gateway stands in front of the service.
func (h *history) gated() bool { return h.front == record.GatewayKind }

// countReady makes the steps of the service behind a gateway.
func (h *history) countReady(events []*record.Event) {
	h.ready = nil
	now, ready := map[string]string{}, 0
	for _, e := range events {
		if e.Kind != record.Endpoint {
			continue
		}
		if now[e.Name] == "ready" {
			ready--
		}
		if now[e.Name] = e.State; e.State == "ready" {
			ready++
		}
		h.ready = put(h.ready, e.At, ready)
	}
}

// door is where a connection went that ends at a gateway: what the gateway's own
// log says of any of its requests, or what the load balancer remembers, and then the
// pod if there was only one on that node when the connection was made. The pod that
// answers is behind it, and says nothing of it.
func (w *ways) door(s *suspect) {
	if s.Conn == "" {
		return
	}
	if s.pod, s.node = w.doorOf(s.Conn); s.node == "" {
		return
	}
	s.how = "as the load balancer says"
	if w.doors[s.Conn] != nil {
		s.how = "as the gateway's log says"
	}
}

// doorOf is the gateway's pod and node at which a connection ends; "": not known.
func (w *ways) doorOf(conn string) (pod, node string) {
	if h := w.doors[conn]; h != nil {
		return h.Pod, cmp.Or(h.Node, w.history.homes[h.Pod])
	}
	if node = w.flows[conn]; node == "" {
		return "", ""
	}
	if pods := w.history.served(node, w.made[conn]); len(pods) == 1 {
		return pods[0], node
	}
	return "", node
}

// carry keeps when connections to a gateway's pods carried a good answer. Only
// those are known of which it is known where they went.
func (w *ways) carry(requests []*record.Request, trail map[string][]*record.Hop) {
	for _, r := range requests {
		if r.Conn == "" {
			continue
		}
		if made, known := w.made[r.Conn]; r.Sent != 0 && (!known || r.Sent < made) {
			w.made[r.Conn] = r.Sent
		}
		if h := gatewayHop(trail[r.ID]); h != nil && h.Pod != "" {
			w.doors[r.Conn] = h
		}
	}
	doors := map[string]string{}
	for _, r := range requests {
		if r.Failed() || r.Conn == "" {
			continue
		}
		door, known := doors[r.Conn]
		if !known {
			door, _ = w.doorOf(r.Conn)
			doors[r.Conn] = door
		}
		if door != "" {
			w.carried[door] = append(w.carried[door], r.Done)
		}
	}
	for _, list := range w.carried {
		slices.Sort(list)
	}
}

// hold sets whom the outcome of a request is held against: behind a gateway the pod
// that answered, where one did, otherwise the other end of the connection.
func (w *ways) hold(s *suspect) {
	s.who, s.at = s.pod, s.node
	if w.history.gated() && s.Pod != "" && (s.Error == "" || s.Error == record.WrongAnswer) {
		s.who, s.at = s.Pod, w.history.homes[s.Pod]
	}
}

// isGateway tells whether a pod stands in front of the service.
func (h *history) isGateway(pod string) bool {
	return h.gated() && len(h.turns[thing{record.GatewayKind, pod}]) > 0
}

// endpoint is the latest turn of a pod as an endpoint of its own service.
func (h *history) endpoint(pod string, at time.Duration) *record.Event {
	if h.isGateway(pod) {
		return h.at(record.GatewayKind, pod, at)
	}
	return h.at(record.Endpoint, pod, at)
}

// podWords names a pod with what it is.
func (h *history) podWords(pod string) string {
	if h.isGateway(pod) {
		return "gateway pod " + pod
	}
	return "pod " + pod
}

// nobodyWords are for those at which clients' connections end.
func (h *history) nobodyWords() string {
	if h.gated() {
		return "no gateway pod"
	}
	return "no replica"
}

// aGateway names the causes that have another remedy where a mesh has a gateway.
// It tells whether it has named one.
func (f *fixer) aGateway(a Attribution, why string) bool {
	f.aProxy(a, why)
	if !f.history.gated() {
		return false
	}
	switch a.Cause {
	case NodeDown, BalancerUnaware, ConnectTimeout:
		f.add("", "clients that give an attempt up sooner and try again where it is safe"+noField, why+"; the load balancer in front of the gateway works on layer 4 and sends on until its probes fail")
	case NoEndpoint:
		f.add("", "gateway pods in every zone, and as many nodes with one as the load balancer may still send to"+noField, why)
	case PodEnded:
		if f.killed() {
			f.add("", "clients, or a gateway, that try again where it is safe"+noField, why+"; it was killed, and no drain helps against that")
			return true
		}
		return false
	default:
		return false
	}
	return true
}
