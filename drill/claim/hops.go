package claim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nines-ha/nines/internal/wording"
	"github.com/nines-ha/nines/record"
)

// A Hop is what one proxy says of a request.
type Hop struct {
	Proxy       string        `json:"proxy"` // gateway, inbound, outbound
	Pod         string        `json:"pod"`
	Node        string        `json:"node,omitempty"`
	At          time.Duration `json:"at"`
	Length      time.Duration `json:"length"`
	Status      int           `json:"status,omitempty"`
	Flags       []string      `json:"flags,omitempty"`
	Words       []string      `json:"words,omitempty"` // the flags in words
	Details     string        `json:"details,omitempty"`
	Upstream    string        `json:"upstream,omitempty"` // whom it asked last
	UpstreamPod string        `json:"upstreamPod,omitempty"`
	Attempts    int           `json:"attempts,omitempty"`
	Failure     string        `json:"failure,omitempty"`
}

// mostHops is of one request, so that a record that claims too much is bearable.
const mostHops = 16

// trails puts hops in the order of a request's way.
func (q *inquiry) trails(sane func(...time.Duration) bool) {
	q.trail = map[string][]*record.Hop{}
	ofCopy := q.ofCopies()
	for i := range q.Hops {
		h := &q.Hops[i]
		switch {
		case !sane(h.At, h.Length), ofCopy(h):
		case h.ID == "":
			q.nameless = append(q.nameless, h)
		case len(q.trail[h.ID]) < mostHops:
			q.trail[h.ID] = append(q.trail[h.ID], h)
		}
	}
	for _, trail := range q.trail {
		slices.SortStableFunc(trail, func(a, b *record.Hop) int { return cmp.Or(depth(a)-depth(b), cmp.Compare(a.At, b.At)) })
	}
	slices.SortStableFunc(q.nameless, func(a, b *record.Hop) int { return cmp.Compare(a.At, b.At) })
}

func depth(h *record.Hop) int {
	return map[string]int{record.AtGateway: 0, record.Inbound: 1, record.Outbound: 2}[h.Proxy]
}

// gatewayHop is what the gateway says of a request; nil: nothing is known.
func gatewayHop(trail []*record.Hop) *record.Hop {
	for _, h := range slices.Backward(trail) {
		if h.Proxy == record.AtGateway {
			return h
		}
	}
	return nil
}

// inboundHop is what the last sidecar that was asked says.
func inboundHop(trail []*record.Hop) *record.Hop {
	for _, h := range slices.Backward(trail) {
		if h.Proxy == record.Inbound {
			return h
		}
	}
	return nil
}

// hopsOf are for the verdict.
func (q *inquiry) hopsOf(id string) []Hop {
	var all []Hop
	for _, h := range q.trail[id] {
		all = append(all, Hop{
			Proxy: h.Proxy, Pod: h.Pod, Node: h.Node, At: h.At, Length: h.Length, Status: h.Status, Flags: h.Flags, Words: flagWords(h.Flags),
			Details: h.Details, Upstream: h.Upstream, UpstreamPod: h.UpstreamPod, Attempts: h.Attempts, Failure: h.Failure,
		})
	}
	return all
}

// accused is the proxy that tells most of what went wrong, and what that was: the
// deepest that had trouble of its own.
func (q *inquiry) accused(s *suspect) (*record.Hop, trouble) {
	trail := q.trail[s.ID]
	for _, h := range slices.Backward(trail) {
		if t := troubleOf(h); t != noTrouble && t != left {
			return h, t
		}
	}
	if h := gatewayHop(trail); h != nil {
		return h, troubleOf(h)
	}
	if names := guessed(s.Detail); q.history.gated() && s.Error == "" && s.failed && s.Pod == "" && names != nil {
		h := &record.Hop{ID: s.ID, At: s.Sent, Length: max(0, s.Done-s.Sent), Proxy: record.AtGateway, Pod: s.pod, Node: s.node, Status: s.Status, Flags: names}
		return h, troubleOf(h)
	}
	return nil, noTrouble
}

// flagged is of requests with which a proxy had trouble that it names.
func flagged(q *inquiry, s *suspect) blame {
	h, what := q.accused(s)
	if h == nil || what == noTrouble || !s.failed && what != injected {
		return blame{}
	}
	target, story := asked(h), outcomeOf(s)+"; "+q.hopWords(h)
	switch what {
	case expired:
		return q.outOfDate(h, story)
	case denied:
		return blame{PolicyDenied, h.Pod + h.Details, story}
	case misrouted:
		return blame{NoRoute, h.Pod + strings.Join(h.Flags, ","), story}
	case refused:
		return blame{Shed, h.Pod + strings.Join(h.Flags, ","), story + q.meant(s.Request)}
	case injected:
		return blame{Injected, strings.Join(h.Flags, ","), story}
	case unhealthy:
		n := numberAt(q.history.ready, h.At)
		if n == 0 && len(q.history.ready) > 0 {
			return blame{NoEndpoint, "anywhere", story + "; no replica was ready then"}
		}
		return blame{NoHealthyUpstream, h.Pod, fmt.Sprintf("%s; %s ready then", story, wording.Several(n, "replica was", "replicas were"))}
	}
	if b := q.beyond(h, story); b.story != "" {
		return b
	}
	switch what {
	case tooLong:
		if b := database(q, s); b.story != "" {
			return blame{b.cause, b.gist, b.story + "; " + q.hopWords(h)}
		}
		if b := busyFor(q, s); b.story != "" {
			return b
		}
		return blame{ProxyTimeout, target, story}
	case cutOff:
		return q.unreached(h, target, story)
	}
	return blame{}
}

// beyond holds trouble against what is known of whom a proxy asked: that its node
// was away, or that it was at its end.
func (q *inquiry) beyond(h *record.Hop, story string) blame {
	pod := asked(h)
	node := q.history.homes[pod]
	during := span{h.At, h.At + h.Length}
	if gone, how, ok := q.history.lost(node, during); ok {
		return blame{NodeDown, node, fmt.Sprintf("%s; %s was %s %s", story, node, how, apart(gone.from, during.from))}
	}
	end, ok := q.history.spell(record.Pod, pod, span{during.from, during.to + slack}, ending)
	if !ok || q.ways.servedBetween(pod, during.to+drains, end.to) {
		return blame{}
	}
	return blame{PodEnded, pod, fmt.Sprintf("%s; %s %s %s", story, q.history.podWords(pod), endWords(end.began.State), apart(end.from, during.to))}
}

func endWords(state string) string {
	return map[string]string{"terminating": "was told to end", "ended": "ended", "deleted": "was deleted"}[state]
}

// unreached is of a connection that failed although nothing befell the other end.
func (q *inquiry) unreached(h *record.Hop, target, story string) blame {
	said := q.history.endpoint(target, h.At)
	hopeless := h.Proxy == record.Inbound || strings.Contains(h.Failure, "refused") || strings.Contains(h.Failure, "immediate connect error")
	switch {
	case said == nil || !hopeless:
	case said.State == "ready":
		return blame{NotServing, target, fmt.Sprintf("%s; it was said to be ready %s", story, apart(said.At, h.At))}
	default:
		return blame{NoEndpoint, target, fmt.Sprintf("%s; it was %s %s", story, said.State, apart(said.At, h.At))}
	}
	return blame{UpstreamLost, target, story}
}

// retried is of slow answers that took several attempts of a proxy. Its log names
// the last one alone.
func retried(q *inquiry, s *suspect) blame {
	h := gatewayHop(q.trail[s.ID])
	if h == nil || h.Attempts < 2 || s.failed {
		return blame{}
	}
	story := outcomeOf(s) + "; " + q.hopWords(h)
	if b := q.lostEndpoint(span{h.At, h.At + h.Length}, story+"; an attempt can have gone to"); b.story != "" {
		return b
	}
	if _, _, trouble := q.storeTrouble(s.life); trouble {
		return blame{}
	}
	if b := busyFor(q, s); b.story != "" {
		return b
	}
	return blame{UpstreamLost, "attempts", story}
}

// hidden is of requests to a gateway that was well, while somebody whom it can have
// asked was not. A log that says that it asked somebody else speaks against it.
func hidden(q *inquiry, s *suspect) blame {
	if !q.history.gated() || s.dialing || s.waited || s.broken || s.failed && !s.silent {
		return blame{}
	}
	if h := gatewayHop(q.trail[s.ID]); h != nil && h.Attempts < 2 && h.UpstreamPod != "" {
		return blame{}
	}
	return q.lostEndpoint(s.life, outcomeOf(s)+"; the gateway can have sent it to")
}

// lostEndpoint is an endpoint of the service on a node that was away.
func (q *inquiry) lostEndpoint(during span, story string) blame {
	for _, pod := range q.history.names[record.Endpoint] {
		node := q.history.homes[pod]
		if said := q.history.at(record.Endpoint, pod, during.from); said == nil || said.State == "gone" {
			continue
		}
		if gone, how, ok := q.history.lost(node, during); ok {
			return blame{NodeDown, node, fmt.Sprintf("%s %s on %s, %s %s", story, pod, node, how, apart(gone.from, during.from))}
		}
	}
	return blame{}
}

// busyFor is of what a machine without CPU made take too long, whatever came of it.
func busyFor(q *inquiry, s *suspect) blame {
	if second := q.busySecond(s.life); second != nil {
		return blame{Machine, "", fmt.Sprintf("%s; this machine's CPUs were %s busy in that second, and some task waited for one in %s of it", outcomeOf(s), roughly(second.CPU), roughly(second.Steal))}
	}
	return blame{}
}

// heldUp is what the sidecar of a replica says of how long it had a request; known
// if it says anything.
func (q *inquiry) heldUp(s *suspect) (b blame, known bool) {
	h := inboundHop(q.trail[s.ID])
	if h == nil {
		return blame{}, false
	}
	if s.failed && !s.silent || h.Length <= s.Latency()/2 {
		return blame{}, true
	}
	return blame{SlowAnswer, h.Pod, fmt.Sprintf("%s; the sidecar of %s on %s waited %s for its answer", outcomeOf(s), h.Pod, h.Node, lasting(h.Length))}, true
}

// asked is the pod whose answer a proxy waited for, or its address; "": nobody.
func asked(h *record.Hop) string {
	switch {
	case h.Proxy == record.Inbound:
		return h.Pod
	case h.UpstreamPod != "":
		return h.UpstreamPod
	}
	return h.Upstream
}

// hopWords is what a proxy says, in words.
func (q *inquiry) hopWords(h *record.Hop) string {
	var words []string
	words = append(words, flagWords(h.Flags)...)
	if strings.HasPrefix(h.Details, "rbac_access_denied") {
		words = append(words, "denied by a policy ("+h.Details+")")
	}
	if h.Attempts > 1 {
		words = append(words, fmt.Sprintf("%d attempts", h.Attempts))
	}
	story := proxyWords(h)
	if len(words) > 0 {
		story += ": " + strings.Join(words, ", ")
	}
	last := ""
	if h.Attempts > 1 {
		last = "the last "
	}
	switch pod := asked(h); {
	case pod == "" || h.Proxy == record.Inbound:
	case q.history.homes[pod] != "":
		story += ", " + last + "to " + pod + " on " + q.history.homes[pod]
	default:
		story += ", " + last + "to " + pod
	}
	if h.Failure != "" {
		story += ": " + quoted(h.Failure)
	}
	return story
}

// proxyWords name a proxy.
func proxyWords(h *record.Hop) string {
	name := map[string]string{record.AtGateway: "gateway", record.Inbound: "sidecar of", record.Outbound: "sidecar of"}[h.Proxy]
	pod := h.Pod
	if pod == "" {
		pod = "pod"
	}
	if h.Node != "" {
		pod += " on " + h.Node
	}
	return strings.TrimSpace(name + " " + pod)
}

// aProxy names what takes a cause away that only proxies tell of.
func (f *fixer) aProxy(a Attribution, why string) {
	switch a.Cause {
	case NoHealthyUpstream:
		f.add("", "outlier detection that never puts out more than a part of the replicas"+noField, why)
		f.add(f.service+".scale.replicas", "more, so that those left are fit and enough", why)
	case UpstreamLost:
		f.add("", "a gateway that tries again at another replica where it is safe"+noField, why)
	case ProxyTimeout:
		f.add(f.service+".resources.cpu", "more, or more replicas (scale.replicas), if the replicas have too little to answer in time", why)
		f.add("", "a timeout that fits what the operation takes, and one for each attempt"+noField, why)
	case CertificateExpired:
		f.add("", "an istiod that proxies reach before their certificates expire, and an alarm on certificates that grow old"+noField, why)
	case PolicyDenied:
		f.add("", "let the caller in where it should be: its identity, the method and the path in the policy"+noField, why)
	case NoRoute:
		f.add("", "a route, or an egress, for what is asked"+noField, why)
	}
}
