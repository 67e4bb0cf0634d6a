package claim

import (
	"cmp"
	"slices"
	"sort"
	"strconv"
	"time"

	"github.com/nines-ha/nines/record"
)

func lag(r *record.Request) time.Duration {
	if r.Taken <= r.Scheduled {
		return 0
	}
	return r.Taken - r.Scheduled
}

// result is what came of a request, in a word.
func result(r *record.Request) string {
	if r.Error != "" {
		return string(r.Error)
	}
	return strconv.Itoa(r.Status)
}

// A suspect is a failed or slow request with what can be known of its way.
type suspect struct {
	*record.Request
	failed bool
	life   span // from when it was taken up to when it was over
	// dialing: what went wrong, or took long, was the making of a connection.
	dialing bool
	silent  bool     // sent, and nothing came
	broken  bool     // sent, and the connection ended
	waited  bool     // most of its time was spent waiting for a free connection of its client
	node    string   // where its connection went; "": not known
	how     string   // from what the node is known
	pod     string   // on the other end, a gateway's where there is one; "": not known
	who, at string   // pod and node that the outcome is held against; "": not known
	nodes   []string // where a new connection can have gone: the node, or all that the load balancer thought up
}

// ways finds where connections went, from what else they carried and from what
// the load balancer remembers.
type ways struct {
	flows    map[string]string
	answered map[string][]*record.Request // by connection, in order of Done
	good     map[string][]time.Duration   // instants of good answers, by pod
	carried  map[string][]time.Duration   // the same through a gateway, by its pod, as far as known
	made     map[string]time.Duration     // when a connection carried its first request; for a gateway alone
	doors    map[string]*record.Hop       // what a gateway says of a request of a connection
	history  *history
}

func newWays(h *history, flows []record.Flow, requests []*record.Request, trail map[string][]*record.Hop) *ways {
	w := &ways{flows: make(map[string]string, len(flows)), answered: map[string][]*record.Request{}, good: map[string][]time.Duration{}, carried: map[string][]time.Duration{}, made: map[string]time.Duration{}, doors: map[string]*record.Hop{}, history: h}
	wanted := map[string]bool{}
	for _, f := range flows {
		w.flows[f.Conn] = f.Node
	}
	for _, r := range requests {
		if r.Error != "" && r.Conn != "" {
			wanted[r.Conn] = true
		}
	}
	for _, r := range requests {
		if r.Pod == "" || r.Error != "" {
			continue
		}
		if wanted[r.Conn] {
			w.answered[r.Conn] = append(w.answered[r.Conn], r)
		}
		if !r.Failed() {
			w.good[r.Pod] = append(w.good[r.Pod], r.Done)
		}
	}
	for _, list := range w.answered {
		slices.SortStableFunc(list, func(a, b *record.Request) int { return cmp.Compare(a.Done, b.Done) })
	}
	for _, list := range w.good {
		slices.Sort(list)
	}
	if h.gated() {
		w.carry(requests, trail)
	}
	return w
}

// last is the latest answer that a connection had carried before an instant.
func (w *ways) last(conn string, before time.Duration) *record.Request {
	list := w.answered[conn]
	i := sort.Search(len(list), func(i int) bool { return list[i].Done > before })
	if i == 0 {
		return nil
	}
	return list[i-1]
}

// servedBetween tells whether a pod gave a good answer in a span, its end
// included.
func (w *ways) servedBetween(pod string, from, to time.Duration) bool {
	list := w.good[pod]
	if w.history.isGateway(pod) {
		list = w.carried[pod]
	}
	i := sort.Search(len(list), func(i int) bool { return list[i] >= from })
	return i < len(list) && list[i] <= to
}

// serving counts the pods that gave good answers in a span.
func (w *ways) serving(during span) (n int) {
	for pod := range w.good {
		if w.servedBetween(pod, during.from, during.to) {
			n++
		}
	}
	return n
}

func (w *ways) suspect(r *record.Request) *suspect {
	s := &suspect{Request: r, failed: r.Failed(), life: span{max(r.Scheduled, r.Taken), max(r.Done, r.Scheduled)}}
	switch r.Error {
	case record.ConnectTimeout, record.ConnectRefused, record.ConnectFailed:
		s.dialing = true
	case record.Reset, record.Closed:
		s.broken = true
	case record.Timeout:
		s.silent = r.Sent > 0
		s.waited = r.Sent == 0
	case "":
		connecting := r.Sent - r.Taken - r.Waited
		s.dialing = !s.failed && !r.Reused && r.Sent > 0 && connecting > r.Latency()/2
		s.waited = !s.failed && r.Waited > r.Latency()/2
	}
	w.locate(s)
	return s
}

func (w *ways) locate(s *suspect) {
	if w.history.gated() {
		w.door(s)
	} else {
		w.home(s)
	}
	defer w.hold(s)
	if s.node != "" {
		s.nodes = []string{s.node}
		if pods := w.history.served(s.node, s.life.from); s.pod == "" && len(pods) == 1 {
			s.pod = pods[0]
		}
		return
	}
	for _, node := range w.history.names[record.Backend] {
		if w.history.state(record.Backend, node, s.life.from) == "up" {
			s.nodes = append(s.nodes, node)
		}
	}
}

// home is where a connection went that ends at the service itself.
func (w *ways) home(s *suspect) {
	s.pod, s.node = s.Pod, s.Node
	if s.node == "" {
		s.node = w.history.homes[s.pod]
	}
	s.how = "as the answer says"
	if before := w.last(s.Conn, s.life.to); s.node == "" && s.Conn != "" && before != nil {
		s.pod, s.node, s.how = before.Pod, before.Node, "as the answer before on this connection says"
		if s.node == "" {
			s.node = w.history.homes[s.pod]
		}
	}
	if node := w.flows[s.Conn]; s.node == "" && s.Conn != "" && node != "" {
		s.node, s.how = node, "as the load balancer says"
	}
}

// new tells whether the connection was made for this request.
func (s *suspect) new() bool { return !s.Reused }
