package claim

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/nines-ha/nines/record"
)

// A span is from From to before To.
type span struct{ from, to time.Duration }

func (s span) has(t time.Duration) bool { return s.from <= t && t < s.to }

func (s span) length() time.Duration { return s.to - s.from }

// forever is later than anything in a record.
const forever = time.Duration(1<<63 - 1)

type thing struct{ kind, name string }

// history answers what was in which state when.
type history struct {
	turns   map[thing][]*record.Event // in order
	names   map[string][]string       // of each kind, sorted
	zones   map[string]string         // of nodes
	homes   map[string]string         // nodes of pods
	ready   []step                    // endpoints of the service, anywhere
	front   string                    // kind of the endpoints at which clients' connections end
	open    []step                    // those of them that are ready
	serving []step                    // those that take connections: ready, or terminating
	local   map[string][]step         // the same by node
}

// A step is a number that holds from At on.
type step struct {
	at time.Duration
	n  int
}

func newHistory(header *record.Header, events []*record.Event) *history {
	h := &history{front: frontOf(header, events), turns: map[thing][]*record.Event{}, names: map[string][]string{}, zones: map[string]string{}, homes: map[string]string{}, local: map[string][]step{}}
	for _, n := range header.Nodes {
		h.zones[n.Name] = n.Zone
	}
	for _, e := range events {
		key := thing{e.Kind, e.Name}
		if len(h.turns[key]) == 0 {
			h.names[e.Kind] = append(h.names[e.Kind], e.Name)
		}
		h.turns[key] = append(h.turns[key], e)
		switch e.Kind {
		case record.Pod, record.Endpoint, record.GatewayKind:
			if e.Node != "" {
				h.homes[e.Name] = e.Node
			}
		case record.Machine, record.NodeKind, record.Backend:
			if e.Zone != "" && h.zones[e.Name] == "" {
				h.zones[e.Name] = e.Zone
			}
		}
	}
	for _, names := range h.names {
		slices.Sort(names)
	}
	h.countEndpoints(events)
	h.ready = h.open
	if h.front != record.Endpoint {
		h.countReady(events)
	}
	return h
}

// countEndpoints makes the steps. Turns of one instant are one step, since a
// slice that changes tells several of them.
func (h *history) countEndpoints(events []*record.Event) {
	now := map[string]string{}
	ready, serving, local := 0, 0, map[string]int{}
	add := func(pod, state string, by int) {
		if state == "ready" {
			ready += by
		}
		if state == "ready" || state == "terminating" {
			serving += by
			local[h.homes[pod]] += by
		}
	}
	for _, e := range events {
		if e.Kind != h.front {
			continue
		}
		add(e.Name, now[e.Name], -1)
		now[e.Name] = e.State
		add(e.Name, e.State, 1)
		node := h.homes[e.Name]
		h.open = put(h.open, e.At, ready)
		h.serving = put(h.serving, e.At, serving)
		h.local[node] = put(h.local[node], e.At, local[node])
	}
}

func put(steps []step, at time.Duration, n int) []step {
	if last := len(steps) - 1; last >= 0 && steps[last].at == at {
		steps[last].n = n
		return steps
	}
	return append(steps, step{at, n})
}

// numberAt is the number at an instant; 0 before the first step.
func numberAt(steps []step, at time.Duration) int {
	i := sort.Search(len(steps), func(i int) bool { return steps[i].at > at })
	if i == 0 {
		return 0
	}
	return steps[i-1].n
}

// fewest is the smallest number in a span, its end included, and the first
// stretch in which it held, as far as the end of the span. Before the first step nothing is known: the number
// of the first step is taken.
func fewest(steps []step, during span) (int, span) {
	if len(steps) == 0 {
		return 0, span{during.from, during.to}
	}
	i := max(sort.Search(len(steps), func(i int) bool { return steps[i].at > during.from })-1, 0)
	least := i
	for j := i; j < len(steps) && (j == i || steps[j].at <= during.to); j++ {
		if steps[j].n < steps[least].n {
			least = j
		}
	}
	begin, end := least, least+1
	for begin > 0 && steps[begin-1].n == steps[least].n {
		begin--
	}
	for end < len(steps) && steps[end].n == steps[least].n {
		end++
	}
	to := during.to
	if end < len(steps) {
		to = min(to, steps[end].at)
	}
	return steps[least].n, span{steps[begin].at, to}
}

// at is the latest turn of something at an instant; nil before its first.
func (h *history) at(kind, name string, at time.Duration) *record.Event {
	turns := h.turns[thing{kind, name}]
	i := sort.Search(len(turns), func(i int) bool { return turns[i].At > at })
	if i == 0 {
		return nil
	}
	return turns[i-1]
}

func (h *history) state(kind, name string, at time.Duration) string {
	if e := h.at(kind, name, at); e != nil {
		return e.State
	}
	return ""
}

// A spell is a stretch in which something was in states that were asked for.
type spell struct {
	span
	began *record.Event
}

// spell is the first stretch of such states that touches a span, its end
// included.
func (h *history) spell(kind, name string, during span, such func(*record.Event) bool) (spell, bool) {
	turns := h.turns[thing{kind, name}]
	first := max(sort.Search(len(turns), func(i int) bool { return turns[i].At > during.from })-1, 0)
	for first > 0 && such(turns[first]) && such(turns[first-1]) {
		first--
	}
	for i := first; i < len(turns) && turns[i].At <= during.to; i++ {
		if !such(turns[i]) {
			continue
		}
		s := spell{span{turns[i].At, forever}, turns[i]}
		for j := i + 1; j < len(turns); j++ {
			if !such(turns[j]) {
				s.to = turns[j].At
				i = j
				break
			}
		}
		if s.to >= during.from {
			return s, true
		}
		if s.to == forever {
			break
		}
	}
	return spell{}, false
}

// next is the first turn to one of the states after an instant.
func (h *history) next(kind, name string, after time.Duration, states ...string) *record.Event {
	turns := h.turns[thing{kind, name}]
	for i := sort.Search(len(turns), func(i int) bool { return turns[i].At >= after }); i < len(turns); i++ {
		if slices.Contains(states, turns[i].State) {
			return turns[i]
		}
	}
	return nil
}

func away(e *record.Event) bool {
	switch e.State {
	case "stopped", "frozen", "deleted", "cut":
		return true
	}
	return false
}

// lost is when and how a node was out of reach or dead in a span.
func (h *history) lost(node string, during span) (spell, string, bool) {
	if node == "" {
		return spell{}, "", false
	}
	if s, ok := h.spell(record.Machine, node, during, away); ok {
		return s, map[string]string{"stopped": "powered off", "frozen": "hung", "deleted": "deleted", "cut": "cut off"}[s.began.State], true
	}
	zone := h.zones[node]
	for _, name := range h.names[record.Zone] {
		if zone == "" || name != zone && !strings.HasSuffix(zone, "-"+name) {
			continue
		}
		if s, ok := h.spell(record.Zone, name, during, away); ok {
			return s, "cut off with zone " + zone, true
		}
	}
	return spell{}, "", false
}

// served are the pods that were endpoints on a node, or on any without one, and
// took clients' connections there.
func (h *history) served(node string, at time.Duration) (pods []string) {
	for _, pod := range h.names[h.front] {
		if node != "" && h.homes[pod] != node {
			continue
		}
		switch h.state(h.front, pod, at) {
		case "ready", "terminating", "unready":
			pods = append(pods, pod)
		}
	}
	return pods
}

// inOrder sorts events by instant and leaves those of one instant as they are.
func inOrder(events []*record.Event) {
	slices.SortStableFunc(events, func(a, b *record.Event) int { return cmp.Compare(a.At, b.At) })
}
