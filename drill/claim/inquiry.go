package claim

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/nines-ha/nines/internal/wording"
	"github.com/nines-ha/nines/record"
)

// An inquiry is a record with all that is derived from it.
type inquiry struct {
	*record.Record
	phases   []record.Phase
	events   []*record.Event
	attempts []*record.Request // all, by scheduled time
	requests []*record.Request // what came of each in the end, by scheduled time of the first attempt
	seconds  []*record.Second

	window   span // that is judged
	injected bool // there is a window at all
	covered  bool // load was sent until its end
	load     span // from the first to the last request
	warm     time.Duration

	run    []*record.Request // those after Warm, by scheduled time
	judged []*record.Request // those of the window

	slow     time.Duration            // a request over this is explained; 0: none is
	trail    map[string][]*record.Hop // what proxies say of each request, in the order of its way
	nameless []*record.Hop            // what they say of connections, by instant
	trees    map[string]*traceTree    // of the requests that were traced
	proven   map[string]shown         // certificates of each proxy, told before the end of the window
	history  *history
	ways     *ways
	rules    []rule
	tries    map[*record.Request][]*record.Request // attempts of the requests that took several
	suspects []*suspect
	saved    []*record.Request // failed at the first attempt, and were answered well in the end
	blames   map[*record.Request]blame
	clients  map[int][]*suspect // attempts that got a connection, by scheduled time

	grave  []string // doubts about the record as a whole
	behind []string // doubts about the load
	busy   []string // doubts about the machine, which can break promises and keep none
	open   []string // doubts about what requests went wrong by
	other  []string // doubts about some of it
}

// farthest is how long a drill can last. What a record tells beyond is a mistake
// in it.
const farthest = 1000 * time.Hour

func newInquiry(rec *record.Record) *inquiry {
	q := &inquiry{
		Record: rec, rules: rules(),
		blames: map[*record.Request]blame{}, clients: map[int][]*suspect{},
	}
	q.takeIn()
	q.findWindow()
	q.certificates()
	q.doubtRecord()
	from := sort.Search(len(q.requests), func(i int) bool { return q.requests[i].Scheduled >= q.warm })
	q.run = q.requests[from:]
	if q.injected {
		at := func(t time.Duration) int {
			return sort.Search(len(q.requests), func(i int) bool { return q.requests[i].Scheduled >= t })
		}
		q.judged = q.requests[at(q.window.from):at(q.window.to)]
	}
	q.slow = q.tooSlow()
	q.history = newHistory(q.Header, q.events)
	q.ways = newWays(q.history, q.Flows, q.attempts, q.trail)
	q.attribute()
	q.doubtMeasure()
	return q
}

// tooSlow is the latency beyond which a request is explained: what the objective
// says, or the percentile that was promised where that is less and was not kept.
func (q *inquiry) tooSlow() time.Duration {
	limit := q.Header.Promise.Slow
	good := goodLatencies(q.judged)
	if len(good) == 0 {
		return limit
	}
	p := q.Header.Promise
	for _, one := range []struct {
		want     time.Duration
		perMille int
	}{{p.P50, 500}, {p.P95, 950}, {p.P99, 990}} {
		if one.want > 0 && rank(good, one.perMille) > one.want && (limit <= 0 || one.want < limit) {
			limit = one.want
		}
	}
	return limit
}

// takeIn keeps what can be true and puts it in order.
func (q *inquiry) takeIn() {
	strange := 0
	sane := func(instants ...time.Duration) bool {
		for _, t := range instants {
			if t < -farthest || t > farthest {
				strange++
				return false
			}
		}
		return true
	}
	for i := range q.Requests {
		r := &q.Requests[i]
		if sane(r.Scheduled, r.Taken, r.Waited, r.Sent, r.First, r.Done) {
			q.attempts = append(q.attempts, r)
		}
	}
	bySchedule := func(a, b *record.Request) int {
		return cmp.Or(cmp.Compare(a.Scheduled, b.Scheduled), cmp.Compare(a.ID, b.ID))
	}
	slices.SortStableFunc(q.attempts, bySchedule)
	if q.requests, q.tries = record.Merge(q.attempts); len(q.tries) > 0 {
		slices.SortStableFunc(q.requests, bySchedule)
	}
	for i := range q.Events {
		e := &q.Events[i]
		if sane(e.At, e.Seen) {
			q.events = append(q.events, e)
		}
	}
	inOrder(q.events)
	q.trails(sane)
	q.traces(sane)
	for i := range q.Seconds {
		s := &q.Seconds[i]
		if sane(s.At) {
			q.seconds = append(q.seconds, s)
		}
	}
	slices.SortStableFunc(q.seconds, func(a, b *record.Second) int { return cmp.Compare(a.At, b.At) })
	q.phases = slices.DeleteFunc(slices.Clone(q.Phases), func(p record.Phase) bool { return !sane(p.At) })
	slices.SortStableFunc(q.phases, func(a, b record.Phase) int { return cmp.Compare(a.At, b.At) })
	if strange > 0 {
		q.doubtAll("the record is damaged: %s to be at an instant that cannot be", wording.Several(strange, "line claims", "lines claim"))
	}
}

func (q *inquiry) findWindow() {
	q.warm = -farthest
	steady, inject := q.phase(record.Steady), q.phase(record.Inject)
	switch {
	case steady != nil:
		q.warm = steady.At
	case inject != nil:
		q.warm = inject.At
	}
	if n := len(q.requests); n > 0 {
		q.load = span{q.requests[0].Scheduled, q.requests[n-1].Scheduled}
	}
	if n := len(q.seconds); n > 0 && len(q.requests) > 0 {
		q.load.to = max(q.load.to, q.seconds[n-1].At+time.Second)
	}
	length := q.Header.Window.Length
	switch {
	case inject == nil:
		q.doubtAll("the fault never began%s", q.interruption())
		return
	case length <= 0 || length > farthest:
		q.doubtAll("the record has no window to judge: its length is %s", length)
		return
	}
	q.injected = true
	q.window = span{inject.At, inject.At + length}
	q.covered = q.load.to >= q.window.to
}

func (q *inquiry) phase(name string) *record.Phase {
	for i := range q.phases {
		if q.phases[i].Name == name {
			return &q.phases[i]
		}
	}
	return nil
}

func (q *inquiry) interruption() string {
	if q.End == nil || q.End.Interrupted == "" {
		return ""
	}
	return ": " + q.End.Interrupted
}

// attribute finds the cause of every failed or slow request of the run, and of
// those that only a later attempt saved: from the causes of their attempts.
func (q *inquiry) attribute() {
	wrong := func(r *record.Request) bool { return r.Failed() || q.slow > 0 && r.Latency() > q.slow }
	var attempts []*suspect
	for _, r := range q.run {
		tries := q.tries[r]
		if saved := len(tries) > 0 && tries[0].Failed() && !r.Failed(); saved {
			q.saved = append(q.saved, r)
		} else if !wrong(r) {
			continue
		}
		if len(tries) == 0 {
			tries = []*record.Request{r}
		}
		for _, one := range tries {
			if wrong(one) {
				attempts = append(attempts, q.ways.suspect(one))
			}
		}
		if wrong(r) {
			q.suspects = append(q.suspects, &suspect{Request: r, failed: r.Failed()})
		}
	}
	slices.SortStableFunc(attempts, func(a, b *suspect) int { return cmp.Compare(a.Scheduled, b.Scheduled) })
	for _, s := range attempts {
		if !s.waited {
			q.clients[s.Client] = append(q.clients[s.Client], s)
		}
	}
	for _, waited := range []bool{false, true} {
		for _, s := range attempts {
			if s.waited == waited {
				q.blames[s.Request] = q.explain(s)
			}
		}
	}
	for _, r := range q.saved {
		q.blames[r] = q.blameAttempts(r)
	}
	for _, s := range q.suspects {
		if len(q.tries[s.Request]) > 0 {
			q.blames[s.Request] = q.blameAttempts(s.Request)
		}
	}
}

// blocking is the failed or slow request of the same client that was under way
// when a request waited for a connection; the latest of them.
func (q *inquiry) blocking(s *suspect) *record.Request {
	const most = 64 // a client has few connections
	list := q.clients[s.Client]
	i := sort.Search(len(list), func(i int) bool { return list[i].Scheduled > s.life.from })
	for j := i - 1; j >= max(0, i-most); j-- {
		if list[j].life.to > s.life.from {
			return list[j].Request
		}
	}
	return nil
}

// storeTrouble is a stretch in which a store did not serve, and which touches a
// span or ended shortly before it.
func (q *inquiry) storeTrouble(during span) (spell, string, bool) {
	during.from -= recovery
	for _, kind := range []string{record.Part, record.Fault} {
		for _, name := range q.history.names[kind] {
			store := q.storeOf(name)
			if store == "" {
				continue
			}
			such := func(e *record.Event) bool { return e.State != "ready" }
			if kind == record.Fault {
				such = func(e *record.Event) bool { return e.State == "done" && q.undone(e) }
			}
			if s, ok := q.history.spell(kind, name, during, such); ok {
				if kind == record.Fault {
					turned := *s.began
					turned.State = "halted"
					if turned.Text != "" {
						turned.Reason = turned.Text
					}
					s.began = &turned
				}
				return s, store, true
			}
		}
	}
	return spell{}, "", false
}

// undone tells whether an action of the drill lasted until it was undone.
func (q *inquiry) undone(e *record.Event) bool {
	return q.history.next(record.Fault, e.Name, e.At, "undone") != nil
}

func (q *inquiry) storeOf(part string) string {
	for _, store := range q.Header.Stores {
		if store != "" && (part == store || strings.HasSuffix(part, "/"+store)) {
			return store
		}
	}
	return ""
}

// fewestServing is the smallest number of endpoints that took connections, on
// all nodes together.
func (q *inquiry) fewestServing(during span) (int, span) {
	if q.history.serving == nil {
		return 0, during
	}
	return fewest(q.history.serving, during)
}

// busySecond is a second of a span in which the machine had no CPU to give.
func (q *inquiry) busySecond(during span) *record.Second {
	i := sort.Search(len(q.seconds), func(i int) bool { return q.seconds[i].At+time.Second > during.from })
	for ; i < len(q.seconds) && q.seconds[i].At <= during.to; i++ {
		if isBusy(q.seconds[i]) {
			return q.seconds[i]
		}
	}
	return nil
}

func isBusy(s *record.Second) bool { return s.CPU >= busyCPU || s.Steal >= busyWait }

// nearest is the turn that happened closest to the end of a span.
func (q *inquiry) nearest(during span) *record.Event {
	i := sort.Search(len(q.events), func(i int) bool { return q.events[i].At > during.to })
	var best *record.Event
	for _, j := range []int{i - 1, i} {
		if j < 0 || j >= len(q.events) {
			continue
		}
		far := (q.events[j].At - during.to).Abs()
		if far <= nearby && (best == nil || far < (best.At-during.to).Abs()) {
			best = q.events[j]
		}
	}
	return best
}

// doubtAll is of what makes the record no evidence at all.
func (q *inquiry) doubtAll(format string, args ...any) {
	q.grave = append(q.grave, fmt.Sprintf(format, args...))
}

func (q *inquiry) doubt(format string, args ...any) {
	q.other = append(q.other, fmt.Sprintf(format, args...))
}
