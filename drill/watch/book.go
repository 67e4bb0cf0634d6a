package watch

import (
	"time"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/record"
)

// A book holds what is known, and turns what changes into events.
type book struct {
	Config
	service    *crew
	gateway    *crew // nil: there is none
	nodes      map[string]node
	backends   map[string]backend
	apiTrouble error // of the last question
	hasGround  bool
	world      ground.WorldStatus
	trouble    error // of the last look at the ground
	looked     time.Time
	restarts   map[string]int  // of parts
	unheard    map[string]bool // sources whose stream has broken off

	last  map[thing]told
	queue []record.Event
}

type thing struct{ kind, name string }

type told struct {
	state string
	at    time.Duration
}

func newBook(c Config, hasGround bool) *book {
	b := &book{
		Config: c, hasGround: hasGround, service: newCrew(record.Endpoint, c.Namespace, c.Service), nodes: map[string]node{},
		backends: map[string]backend{}, last: map[thing]told{}, restarts: map[string]int{}, unheard: map[string]bool{},
	}
	if c.Gateway != nil {
		b.gateway = newCrew(record.GatewayKind, c.Gateway.Namespace, c.Gateway.Service)
	}
	return b
}

// An instant is when something was, as its source tells; the zero one is unknown.
type instant struct {
	time.Time
	whole bool // seconds only, the fraction cut off
}

func exact(t time.Time) instant { return instant{Time: t} }
func whole(t time.Time) instant { return instant{t, true} }

// turn tells an event unless the thing is in that state already.
func (b *book) turn(e record.Event, when instant) {
	if b.last[thing{e.Kind, e.Name}].state != e.State {
		b.tell(e, when)
	}
}

// tell tells an event, with e.Seen given and At made from when.
func (b *book) tell(e record.Event, when instant) {
	key := thing{e.Kind, e.Name}
	last, known := b.last[key]
	e.At = e.Seen
	if !when.IsZero() {
		at := when.Sub(b.Started)
		seen := b.Started.Add(e.Seen)
		// What lies before the last turn dates another one: a node that is ready
		// again because it was uncordoned still tells when its kubelet came.
		if !(when.whole && when.Unix() == seen.Unix()) && at < e.Seen && !(known && when.whole && at+time.Second <= last.at) {
			e.At = at
		}
	}
	if known {
		e.At = max(e.At, last.at)
	}
	b.last[key] = told{e.State, e.At}
	b.queue = append(b.queue, e)
}

// end tells the last event of a thing.
func (b *book) end(e record.Event) {
	b.turn(e, instant{})
	delete(b.last, thing{e.Kind, e.Name})
}

func (b *book) state(kind, name string) string { return b.last[thing{kind, name}].state }

func (b *book) take() []record.Event {
	events := b.queue
	b.queue = nil
	return events
}

func (b *book) zoneOf(node string) string { return b.nodes[node].zone }
