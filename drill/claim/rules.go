package claim

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nines-ha/nines/internal/wording"
	"github.com/nines-ha/nines/record"
)

// Distances in time that rules go by.
const (
	slack     = time.Second      // Kubernetes tells instants of pods and nodes to the second
	drains    = 2 * time.Second  // a pod that answers so long after a failure was not at its end
	recovery  = 3 * time.Second  // a service finds back to a store that is ready again
	coldStart = 10 * time.Second // a pod that was said to be ready and has not served yet is new
	nearby    = 5 * time.Second  // what else happened around an unexplained request
	proxied   = time.Second      // a node learns of an endpoint so long after it is told
)

// The machine, or the generator, was too busy for what it measured to count.
const (
	busyCPU  = 0.95 // share of the machine's time that was not idle
	busyWait = 0.75 // share of time in which some task waited for a CPU
)

// blame is a cause with its evidence. Requests of one gist went wrong in the
// same way at the same place.
type blame struct{ cause, gist, story string }

// rules are tried in order; the first that finds evidence decides. A story of ""
// is none.
type rule func(q *inquiry, s *suspect) blame

func rules() []rule {
	return []rule{
		generator, queued, flagged, retried, shed, database, podEnded, nodeLost, nobody, notServing,
		storeSays, hidden, starved, machineBusy, slowAnswer, handshake, brokenOff, serverError,
	}
}

func (q *inquiry) explain(s *suspect) blame {
	for _, r := range q.rules {
		if b := r(q, s); b.story != "" {
			return b
		}
	}
	return blame{Unattributed, "", q.unexplained(s)}
}

func generator(q *inquiry, s *suspect) blame {
	late := lag(s.Request)
	switch {
	case s.Error == record.NotSent:
		return blame{Generator, "not sent", "the generator did not send it" + said(s)}
	case !s.failed && late > 0 && s.Request.Latency()-late <= q.slow:
		return blame{Generator, "late", fmt.Sprintf("the generator took it up %s after it was due, and it was answered %s later", lasting(late), lasting(s.Request.Latency()-late))}
	case s.failed && (s.Error == record.Timeout || s.Error == record.ConnectTimeout) && late > s.Request.Latency()/2:
		return blame{Generator, "late", fmt.Sprintf("the generator took it up %s after it was due, out of the %s that it had", lasting(late), lasting(s.Request.Latency()))}
	}
	return blame{}
}

// queued is of a request that mostly waited for others of its client: their
// cause is its cause.
func queued(q *inquiry, s *suspect) blame {
	if !s.waited {
		return blame{}
	}
	before := q.blocking(s)
	if before == nil {
		return blame{}
	}
	b := q.blames[before]
	if b.cause == Unattributed {
		return blame{}
	}
	wait := s.Waited
	if wait == 0 {
		wait = s.life.length()
	}
	return blame{b.cause, "waited " + b.gist, fmt.Sprintf("waited %s for a connection, all of its client were busy, one with request %s: %s", lasting(wait), before.ID, b.story)}
}

func shed(q *inquiry, s *suspect) blame {
	if s.Error != "" {
		return blame{}
	}
	if s.Status == http.StatusTooManyRequests || s.Status == http.StatusServiceUnavailable && strings.Contains(strings.ToLower(s.Detail), "too many requests") {
		return blame{Shed, s.Pod, fmt.Sprintf("refused with %d by %s%s", s.Status, by(s), said(s)) + q.meant(s.Request)}
	}
	return blame{}
}

// database is of requests that a store could not serve, as the store's own
// state tells.
func database(q *inquiry, s *suspect) blame {
	serverSide := s.Error == "" && (s.Status == 500 || s.Status == 503 || s.Status == 504)
	if !serverSide && s.failed && !s.silent || s.dialing {
		return blame{}
	}
	trouble, store, ok := q.storeTrouble(s.life)
	if !ok {
		return blame{}
	}
	story := fmt.Sprintf("%s; the store %s was %s from %s", outcomeOf(s), store, trouble.began.State, since(q, trouble.from))
	if trouble.began.Reason != "" {
		story = fmt.Sprintf("%s; the store %s was %s (%s) from %s", outcomeOf(s), store, trouble.began.State, trouble.began.Reason, since(q, trouble.from))
	}
	if trouble.to != forever {
		story += " for " + lasting(trouble.length())
	}
	return blame{Database, store, story + said(s)}
}

func podEnded(q *inquiry, s *suspect) blame {
	if s.Error == "" && s.Status < 500 || s.Error == record.WrongAnswer {
		return blame{} // an answer, slow or wrong, is not an end
	}
	pods := []string{s.who}
	if s.who == "" {
		pods = nil
		if !s.dialing {
			return blame{}
		}
		for _, node := range s.nodes {
			pods = append(pods, q.history.served(node, s.life.from)...)
		}
		if slices.ContainsFunc(pods, func(pod string) bool { return q.mute(pod, s.life.to) }) {
			return blame{} // it is another pod that did not serve yet
		}
	}
	for _, pod := range pods {
		end, ok := q.history.spell(record.Pod, pod, span{s.life.from, s.life.to + slack}, ending)
		if !ok || q.ways.servedBetween(pod, s.life.to+drains, end.to) {
			continue // it goes on serving: it drains
		}
		if _, _, lost := q.history.lost(q.history.homes[pod], s.life); lost {
			continue
		}
		word := endWords(end.began.State)
		story := fmt.Sprintf("%s; %s on %s, %s, %s %s", outcomeOf(s), q.history.podWords(pod), q.history.homes[pod], podHow(s, pod), word, apart(end.from, s.life.to))
		if ended := q.history.next(record.Pod, pod, end.from, "ended"); ended != nil && ended.Reason != "" {
			story += fmt.Sprintf(" (%s)", ended.Reason)
		}
		return blame{PodEnded, pod, story}
	}
	return blame{}
}

func ending(e *record.Event) bool {
	return e.State == "terminating" || e.State == "ended" || e.State == "deleted"
}

func podHow(s *suspect, pod string) string {
	switch {
	case s.Pod != "" && s.Pod == pod:
		return "which answered"
	case s.pod != "" && s.how == "as the load balancer says":
		return "the only one where it was sent"
	case s.pod != "":
		return "which this connection was to"
	default:
		return "an endpoint that it can have been sent to"
	}
}

// nodeLost is of connections to a machine that was away. One that was there
// before is the node's loss, one that was made later the load balancer's
// ignorance.
func nodeLost(q *inquiry, s *suspect) blame {
	if s.failed && s.Error == "" || s.waited {
		return blame{}
	}
	if s.node == "" && !s.dialing {
		return blame{}
	}
	for _, node := range s.nodes {
		gone, how, ok := q.history.lost(node, s.life)
		if !ok || s.Error == record.ConnectRefused && s.life.from-gone.from > slack {
			continue // what is dead refuses nothing, but what is dying may
		}
		verb := "connected to"
		switch {
		case s.node == "":
			verb = "the load balancer still sent some to"
		case s.dialing:
			verb = "sent by the load balancer to"
		case !s.new():
			verb = "on a connection to"
		}
		story := fmt.Sprintf("%s: %s %s, %s %s", outcomeOf(s), verb, node, how, apart(gone.from, s.life.from))
		state := q.history.state(record.Backend, node, s.life.from)
		out := q.history.next(record.Backend, node, gone.from, "down")
		switch {
		case state == "down":
			story += "; the load balancer had taken it out"
		case out != nil:
			story += fmt.Sprintf("; the load balancer took it out %s after that", lasting(out.At-gone.from))
		case state == "up":
			story += "; the load balancer never took it out"
		}
		if s.new() && s.life.from >= gone.from && state == "up" {
			return blame{BalancerUnaware, node, story}
		}
		return blame{NodeDown, node, story}
	}
	return blame{}
}

// nobody is of connections where no endpoint was that takes any.
func nobody(q *inquiry, s *suspect) blame {
	if !s.dialing || len(q.history.open) == 0 {
		return blame{}
	}
	if n, when := q.fewestServing(s.life); n == 0 {
		return blame{NoEndpoint, "anywhere", fmt.Sprintf("%s; %s anywhere took requests%s", outcomeOf(s), q.history.nobodyWords(), until(q, when))}
	}
	if backends := q.history.names[record.Backend]; s.node == "" && len(s.nodes) == 0 && len(backends) > 0 {
		return blame{NoEndpoint, "anywhere", fmt.Sprintf("%s; the load balancer had none of %s left to send it to", outcomeOf(s), wording.Several(len(backends), "node", "nodes"))}
	}
	for _, node := range s.nodes {
		n, when := fewest(q.history.local[node], span{s.life.from - proxied, s.life.to})
		if n > 0 {
			continue
		}
		empty := until(q, when)
		if when.to < s.life.from {
			empty = " until " + lasting(s.life.from-when.to) + " before"
		}
		story := fmt.Sprintf("%s; the load balancer sent it to %s, where %s took requests%s", outcomeOf(s), node, q.history.nobodyWords(), empty)
		if s.node == "" {
			story = fmt.Sprintf("%s; the load balancer still sent some to %s, where %s took requests%s", outcomeOf(s), node, q.history.nobodyWords(), empty)
		}
		if out := q.history.next(record.Backend, node, when.from, "down"); out != nil {
			story += fmt.Sprintf("; it took %s out %s after it was empty", node, lasting(out.At-when.from))
		}
		return blame{NoEndpoint, node, story}
	}
	return blame{}
}

// notServing is of endpoints that were said to be ready and were not.
func notServing(q *inquiry, s *suspect) blame {
	pods := []string{s.who}
	if s.who == "" {
		pods = nil
		for _, node := range s.nodes {
			pods = append(pods, q.history.served(node, s.life.from)...)
		}
	}
	for _, pod := range pods {
		said := q.history.endpoint(pod, s.life.to)
		if said == nil || said.State != "ready" || q.ways.servedBetween(pod, said.At, s.life.to) {
			continue
		}
		unfit := s.Error == "" && s.Status >= 500 || s.dialing || s.broken || s.silent
		cold := !s.failed && s.Pod == pod
		// Not all is known of what a gateway's pod has carried.
		known := unfit && (s.at != "" || s.Error == record.ConnectRefused) && !q.history.isGateway(pod)
		if age := s.life.to - said.At; known || (unfit || cold) && age <= coldStart {
			return blame{NotServing, pod, fmt.Sprintf("%s; %s, %s, was said to be ready %s before and had not answered one request well", outcomeOf(s), q.history.podWords(pod), podHow(s, pod), lasting(age))}
		}
	}
	if s.Error == record.ConnectRefused {
		if n := numberAt(q.history.open, s.life.to); n > 0 {
			return blame{NotServing, "", fmt.Sprintf("refused, although %s said to be ready", wording.Several(n, "endpoint was", "endpoints were"))}
		}
	}
	return blame{}
}

// mute tells whether a pod was said to be ready, had served nobody since, and
// served nobody for a while after either.
func (q *inquiry) mute(pod string, at time.Duration) bool {
	said := q.history.endpoint(pod, at)
	if said != nil && q.history.isGateway(pod) && at-said.At > coldStart {
		return false
	}
	return said != nil && said.State == "ready" && !q.ways.servedBetween(pod, said.At, at+drains)
}

// storeSays is of answers in which the service blames its store.
func storeSays(_ *inquiry, s *suspect) blame {
	if s.Error == "" && s.Status >= 500 && strings.Contains(s.Detail, "the store cannot be reached") {
		return blame{Database, "said", fmt.Sprintf("answered %d by %s%s", s.Status, by(s), said(s))}
	}
	return blame{}
}

func starved(q *inquiry, s *suspect) blame {
	if s.failed && s.Error != record.Timeout && s.Error != record.ConnectTimeout || len(q.history.ready) == 0 {
		return blame{}
	}
	n, _ := fewest(q.history.ready, s.life)
	if least := q.Header.Service.Least; n < least && q.ways.serving(s.life) < least {
		return blame{Starved, "", fmt.Sprintf("%s; only %s ready, %d are the least for the load", outcomeOf(s), wording.Several(n, "replica was", "replicas were"), q.Header.Service.Least)}
	}
	return blame{}
}

func machineBusy(q *inquiry, s *suspect) blame {
	if s.failed && s.Error != record.Timeout && s.Error != record.ConnectTimeout {
		return blame{}
	}
	return busyFor(q, s)
}

// slowAnswer is of requests that a replica had and took long over.
func slowAnswer(q *inquiry, s *suspect) blame {
	if b, known := q.heldUp(s); known {
		return b
	}
	took := s.First - s.Sent
	if s.failed || s.Pod == "" || s.Sent == 0 || s.First == 0 || took <= s.Latency()/2 {
		return blame{}
	}
	return blame{SlowAnswer, s.Pod, fmt.Sprintf("%s by %s; %s of it between sending and the first byte", outcomeOf(s), by(s), lasting(took))}
}

func handshake(_ *inquiry, s *suspect) blame {
	if s.Error != record.ConnectTimeout {
		return blame{}
	}
	return blame{ConnectTimeout, s.node, fmt.Sprintf("nobody answered the handshake within %s%s", lasting(s.life.length()), where(s))}
}

func brokenOff(_ *inquiry, s *suspect) blame {
	if !s.broken && s.Error != record.ConnectRefused {
		return blame{}
	}
	state := "a new connection"
	if s.Reused {
		state = "a connection that had served before"
	}
	return blame{ConnectionReset, s.node, fmt.Sprintf("%s, %s after it was taken up, on %s%s", outcomeOf(s), lasting(s.life.length()), state, where(s))}
}

func serverError(_ *inquiry, s *suspect) blame {
	if !s.failed || s.Error != "" && s.Error != record.WrongAnswer && s.Error != record.Malformed || s.Error == "" && s.Status == 0 {
		return blame{}
	}
	return blame{ServerError, s.Pod + result(s.Request), fmt.Sprintf("answered %s by %s%s", result(s.Request), by(s), said(s))}
}
