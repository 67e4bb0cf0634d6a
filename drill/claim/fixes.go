package claim

import (
	"fmt"
	"strings"

	"github.com/nines-ha/nines/internal/wording"
	"github.com/nines-ha/nines/record"
)

// noField is said where nines.yaml cannot describe the change.
const noField = " (nines.yaml has no field for it)"

// fixes names the changes that would have kept the promises: one for each claim
// that has one of its own, and one for each cause that cost something.
func (q *inquiry) fixes(v *Verdict) []Fix {
	f := fixer{inquiry: q, service: "services." + q.Header.Service.Name}
	for _, c := range v.Claims {
		if c.Outcome != Refuted {
			continue
		}
		switch c.Name {
		case "writes":
			f.add("", "acknowledge a write only when the store has it"+noField+"; a change of the service", c.Got)
		case "fresh":
			f.add("", "answer reads from where writes are acknowledged"+noField+"; a change of the service", c.Got)
		case "answer":
			f.add(f.service+".operations", "a timeout below the promised one for each, which the proxies of a mesh keep", c.Got)
			f.add("", "a deadline for every operation and a limit of how many run at once, in the service itself"+noField, c.Got)
		case "capacity":
			f.capacity(c)
		case "restored":
			f.pool(c)
		case "ejected":
			f.ejection("what asks the pod does not find out that it is unwell: " + c.Got)
		case "meshed":
			f.add("", "an injector that fails closed, so that a pod without a sidecar is not made at all"+noField, c.Got)
		case "local":
			f.local(c)
		case "goodput", "refusal":
			f.add(f.service+".limits.requests", "as many as a replica answers in the time of one try", "more was under way than could be answered in time: "+c.Got)
		case "attempts":
			f.add("clients.budget", "20%, and a retry budget of the proxies", "what failed was tried again however much did: "+c.Got)
		case "refused":
			f.add("", "mutual TLS that is STRICT in the whole mesh, and policies that let declared callers in and nobody else"+noField, c.Got)
		case "traced":
			f.add("", "hand the context of a request on to all that is done for it, and propagate W3C's from hop to hop"+noField+"; a change of the service", c.Got)
		case "availability", "failed", "p50", "p95", "p99", "recovery":
			for _, a := range v.Attribution {
				f.cause(a, c)
			}
		}
	}
	return f.all
}

type fixer struct {
	*inquiry
	service string
	all     []Fix
}

func (f *fixer) add(field, change, why string) {
	for _, known := range f.all {
		if known.Field == field && known.Change == change {
			return
		}
	}
	f.all = append(f.all, Fix{Field: field, Change: change, Why: why})
}

// cause names what takes a cause away, unless the refuted claim counts only
// failed requests and it cost none.
func (f *fixer) cause(a Attribution, c Claim) {
	if (c.Name == "availability" || c.Name == "failed") && a.Failed == 0 {
		return
	}
	why := fmt.Sprintf("%s failed or slow because %s", wording.Several(a.Count, "request was", "requests were"), a.Text)
	if f.aGateway(a, why) {
		return
	}
	switch a.Cause {
	case PodEnded:
		if f.Header.Service.Replicas == 1 {
			f.add(f.service+".scale.replicas", "3: with one replica there is nobody else to answer", why)
			return
		}
		if f.killed() {
			f.again(why + "; it was killed, and no drain helps against that")
			return
		}
		f.add(f.service+".drain.delay", "longer than the load balancer's probes and every endpoint's news take: 15s, which is what is there without a value", why)
	case NoEndpoint:
		if f.oneZone() {
			f.spread(why)
			return
		}
		if f.Header.Service.Replicas < 3 {
			f.add(f.service+".scale.replicas", "3, one in each zone", why)
			return
		}
		f.add(f.service+".drain.delay", "longer than the load balancer takes to notice that a node serves no more: 15s at least", why)
	case NodeDown, BalancerUnaware:
		f.again(why + "; a layer-4 load balancer sends on until its probes fail")
	case NotServing:
		f.add(f.service+".probes.readiness", "a path that answers well only when the replica can serve", why)
	case SlowAnswer:
		f.add(f.service+".resources.cpu", "more, or more replicas (scale.replicas), if the replicas have too little to answer in time", why)
	case Shed, Starved:
		f.add(f.service+".scale.replicas", "more, so that those left carry the load", why)
		f.add(f.service+".disruption", "maxUnavailable: 1, so that fewer leave at once", why)
	case Database:
		f.add("", "a store that fails over, and clients that try again later"+noField, why)
	case ServerError:
		f.add("", "a change of the service; its log says more"+noField, why)
	case ConnectionReset:
		f.add(f.service+".drain.timeout", "longer than the longest request takes", why)
	case ConnectTimeout:
		f.again(why)
	}
}

// aMesh is what a system without one is told.
const aMesh = "a mesh, which finds out sooner who does not answer and tries again where it is safe: render and run with one"

// again is for requests that somebody could have tried again elsewhere.
func (f *fixer) again(why string) {
	switch r := f.Header.Load.Retry; {
	case !f.Header.Mesh:
		f.add("", aMesh, why)
	case r == nil || r.Attempts < 2:
		f.add("clients.attempts", "3 or more, if those who call can try again", why)
	default:
		f.add(f.service+".operations", "idempotent: true for what may be done twice, so that it is tried again", why)
	}
}

// ejection is for a replica that is unwell and is asked all the same.
func (f *fixer) ejection(why string) {
	if !f.Header.Mesh {
		f.add("", aMesh, why)
		return
	}
	f.add("", "outlier detection of few enough errors in a row, as render/istio writes it into the DestinationRule"+noField, why)
}

// killed tells whether the drill itself ended pods without grace.
func (f *fixer) killed() bool {
	for _, name := range f.history.names[record.Fault] {
		if len(f.history.turns[thing{record.Pod, name}]) == 0 {
			continue
		}
		for _, e := range f.history.turns[thing{record.Fault, name}] {
			if strings.Contains(e.Text, "no grace") {
				return true
			}
		}
	}
	return false
}

func (f *fixer) capacity(c Claim) {
	switch {
	case f.oneZone():
		f.spread("ready endpoints: " + c.Got + "; all were in one zone")
	case f.Header.Service.Replicas < 2:
		f.add(f.service+".scale.replicas", "3, one in each zone", "ready endpoints: "+c.Got)
	case len(f.lostNodes()) > 0:
		f.add(f.service+".scale.replicas", "more than one node carries, on more nodes, so that those left are enough", "ready endpoints: "+c.Got+"; a node was lost with what ran on it")
	default:
		f.add(f.service+".disruption", "maxUnavailable: 1, so that an eviction waits until the replica before is replaced", "ready endpoints: "+c.Got)
	}
}

// oneZone tells whether all endpoints were in one zone of several when the
// fault began.
func (f *fixer) oneZone() bool {
	zones, used := map[string]bool{}, map[string]bool{}
	for _, zone := range f.history.zones {
		zones[zone] = true
	}
	pods := 0
	for _, pod := range f.history.names[record.Endpoint] {
		if f.history.state(record.Endpoint, pod, f.window.from) == "ready" {
			used[f.history.zones[f.history.homes[pod]]] = true
			pods++
		}
	}
	return len(zones) > 1 && len(used) == 1 && pods > 1
}

func (f *fixer) spread(why string) {
	f.add("regions."+f.Header.Region+".zones", fmt.Sprintf("spread the replicas over all of the %d zones, and take away what keeps them in one", max(3, f.zonesCount())), why)
}

func (f *fixer) zonesCount() int {
	zones := map[string]bool{}
	for _, zone := range f.history.zones {
		zones[zone] = true
	}
	return len(zones)
}

// pool is for replicas that did not come back: where one waited for a place,
// there was too little room.
func (f *fixer) pool(c Claim) {
	waiting := f.waiting()
	if waiting == nil {
		f.add(f.service+".probes.start", "longer, or a replica that starts sooner", "replicas were back: "+c.Got)
		return
	}
	why := fmt.Sprintf("pod %s was pending %s", waiting.Name, since(f.inquiry, waiting.At))
	if reason := strings.TrimSpace(waiting.Reason + " " + waiting.Text); reason != "" {
		why += ": " + quoted(reason)
	}
	f.add("regions."+f.Header.Region+".nodes", "more, so that a lost replica fits somewhere", why)
	f.add(f.service+".resources.cpu", "less, if a replica needs less", why)
}

// waiting is a pod that found no place: one that was pending for longer than a
// start takes and named a reason, or that was pending at the end of the window.
func (f *fixer) waiting() *record.Event {
	var waiting *record.Event
	for _, pod := range f.history.names[record.Pod] {
		s, ok := f.history.spell(record.Pod, pod, span{f.window.from, f.window.to - 1}, func(e *record.Event) bool { return e.State == "pending" })
		if !ok || s.to < f.window.to && s.length() < nearby {
			continue
		}
		if waiting == nil || s.began.Reason+s.began.Text != "" && waiting.Reason+waiting.Text == "" {
			waiting = s.began
		}
	}
	return waiting
}
