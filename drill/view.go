package drill

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nines-ha/nines/record"
)

// Progress is how a drill stands.
type Progress struct {
	At       time.Duration
	Phase    string
	Text     string // what happened, when something did
	Sent     int    // since the steady state
	Failed   int
	Rate     float64 // answered in the last second
	Failing  int     // failed in the last second
	P99      time.Duration
	InFlight int
	Ready    int // endpoints
}

// view keeps what is worth showing while the drill runs.
type view struct {
	started time.Time
	show    func(Progress)

	mu        sync.Mutex
	state     Progress
	latencies []time.Duration          // of the current second
	troubles  map[string]int           // failed requests since the steady state, by how they ended
	due       map[string]time.Duration // requests that are tried again, by their first attempts
}

func newView(started time.Time, show func(Progress)) *view {
	if show == nil {
		show = func(Progress) {}
	}
	return &view{started: started, show: show, troubles: map[string]int{}, due: map[string]time.Duration{}}
}

func (v *view) now() time.Duration { return time.Since(v.started) }

// request counts what came of a request in the end.
func (v *view) request(r *record.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	due := r.Scheduled
	switch {
	case r.Again && r.Of == "":
		v.due[r.ID] = due
		return
	case r.Again:
		return
	case r.Of != "":
		due = v.due[r.Of]
		delete(v.due, r.Of)
	}
	v.state.Sent++
	if r.Failed() {
		v.state.Failed++
		how := string(r.Error)
		if how == "" {
			how = "status " + strconv.Itoa(r.Status)
		}
		v.troubles[how]++
		return
	}
	v.latencies = append(v.latencies, r.Done-due)
}

// failures counts the failed requests, and says how most of them ended.
func (v *view) failures() (failed int, most string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, how := range slices.Sorted(maps.Keys(v.troubles)) {
		if most == "" || v.troubles[how] > v.troubles[most] {
			most = how
		}
	}
	return v.state.Failed, most
}

func (v *view) second(s record.Second, ready int) {
	v.mu.Lock()
	slices.Sort(v.latencies)
	v.state.P99 = 0
	if n := len(v.latencies); n > 0 {
		v.state.P99 = v.latencies[(n*99+99)/100-1]
	}
	v.latencies = v.latencies[:0]
	v.state.At, v.state.Text = s.At+time.Second, ""
	v.state.Rate, v.state.Failing, v.state.InFlight, v.state.Ready = float64(s.Answered), s.Failed, s.InFlight, ready
	now := v.state
	v.mu.Unlock()
	v.show(now)
}

func (v *view) phase(p record.Phase) {
	v.mu.Lock()
	v.state.Phase = p.Name
	if p.Name == record.Steady {
		v.state.Sent, v.state.Failed = 0, 0 // everybody connects at once before it
		clear(v.troubles)
	}
	v.mu.Unlock()
	v.tell(p.At, p.Text)
}

// event shows what was broken or mended, and what the platform did about it.
func (v *view) event(e record.Event) {
	switch {
	case e.Kind == record.Fault:
		v.tell(e.At, e.Text)
	case e.Kind == record.Probe || e.Kind == record.Control:
		v.tell(e.At, strings.TrimSuffix(fmt.Sprintf("%s, %s %s: %s; %s", e.Name, e.Kind, e.State, e.Text, e.Reason), "; "))
	case e.At > 0 && (e.Kind == record.Backend || e.Kind == record.Endpoint || e.Kind == record.GatewayKind || e.Kind == record.NodeKind):
		v.tell(e.At, e.Kind+" "+e.Name+" "+e.State)
	}
}

func (v *view) tell(at time.Duration, text string) {
	v.mu.Lock()
	v.state.At, v.state.Text = at, text
	now := v.state
	v.mu.Unlock()
	v.show(now)
}

// hold keeps events until the record's header is written.
type hold struct {
	mu   sync.Mutex
	next func(record.Event)
	kept []record.Event
	open bool
}

func newHold(next func(record.Event)) *hold { return &hold{next: next} }

func (h *hold) tell(e record.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.open {
		h.kept = append(h.kept, e)
		return
	}
	h.next(e)
}

func (h *hold) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.kept {
		h.next(e)
	}
	h.kept, h.open = nil, true
}
