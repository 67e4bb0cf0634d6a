package load

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/nines-ha/nines/record"
)

// tellEvery is the pause between two rounds of telling: to wake up for each
// request would cost more than the telling.
const tellEvery = 50 * time.Millisecond

// An account keeps count, and hands what is to be told to the one goroutine that
// tells it.
type account struct {
	tell   func(*record.Request)
	second func(record.Second)

	items  chan item // has room for all that can exist at once
	untold atomic.Int64
	most   int64         // untold requests, before the generator has to wait
	room   chan struct{} // one of them was told

	due       atomic.Int64 // when the request is due that is taken up next, ns
	lag       atomic.Int64 // the worst of this second, ns
	inFlight  atomic.Int64
	scheduled atomic.Int64
	answered  atomic.Int64
	failed    atomic.Int64
	notSent   atomic.Int64
	retried   atomic.Int64
	worst     time.Duration // lag of the whole run
}

// Exactly one of the two.
type item struct {
	request *record.Request
	second  *record.Second
}

func newAccount(c *Config) *account {
	a := &account{tell: c.Tell, second: c.Second, most: int64(c.untoldLimit()), room: make(chan struct{}, 1)}
	a.items = make(chan item, c.untoldLimit()+c.flightLimit()*max(c.Retry.Attempts, 1)+secondsAhead)
	a.due.Store(noneDue)
	return a
}

// secondsAhead is room for seconds while the telling hangs; then they wait.
const secondsAhead = 64

const noneDue = int64(1) << 62

// ready waits until another request may be taken up.
func (a *account) ready(ctx context.Context) error {
	for a.untold.Load() >= a.most {
		select {
		case <-a.room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (a *account) taken(lag time.Duration) {
	a.scheduled.Add(1)
	a.inFlight.Add(1)
	raise(&a.lag, int64(lag))
}

func (a *account) done(told *record.Request) {
	switch {
	case told.Error == record.NotSent:
		a.notSent.Add(1)
	case told.Failed():
		a.failed.Add(1)
	default:
		a.answered.Add(1)
	}
	a.inFlight.Add(-1)
	a.attempted(told)
}

// attempted is of an attempt that is over, whatever becomes of its request.
func (a *account) attempted(told *record.Request) {
	a.untold.Add(1)
	a.items <- item{request: told}
}

// telling tells until all is told and items is closed.
func (a *account) telling() {
	pause := time.NewTicker(tellEvery)
	defer pause.Stop()
	for {
		<-pause.C
		for more := true; more; {
			select {
			case next, open := <-a.items:
				if !open {
					return
				}
				a.hand(next)
			default:
				more = false
			}
		}
	}
}

func (a *account) hand(next item) {
	if next.second != nil {
		if a.second != nil {
			a.second(*next.second)
		}
		return
	}
	a.tell(next.request)
	if a.untold.Add(-1) == a.most-1 {
		select {
		case a.room <- struct{}{}:
		default:
		}
	}
}

// seconds sums up once a second until stop is closed, and then the rest.
func (a *account) seconds(stop <-chan struct{}, now func() time.Duration, machine *machine) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	began := now()
	var before [4]int64
	for ended := false; !ended; {
		select {
		case <-ticker.C:
		case <-stop:
			ended = true
		}
		at := now()
		lag := time.Duration(max(a.lag.Swap(0), int64(at)-a.due.Load(), 0))
		a.worst = max(a.worst, lag)
		busy, waiting := machine.look(time.Now())
		counts := [4]int64{a.scheduled.Load(), a.answered.Load(), a.failed.Load() + a.notSent.Load(), a.retried.Load()}
		s := record.Second{
			At: began, Scheduled: int(counts[0] - before[0]), Answered: int(counts[1] - before[1]), Failed: int(counts[2] - before[2]),
			Retried:  int(counts[3] - before[3]),
			InFlight: int(a.inFlight.Load()), Lag: lag, CPU: busy, Steal: waiting,
		}
		before = counts
		// A ticker that is late tells only once; each second is told all the same.
		for {
			told := s
			a.items <- item{second: &told}
			began += time.Second
			if ended || at-began < time.Second/2 {
				break
			}
			s.At, s.Scheduled, s.Answered, s.Failed, s.Retried = began, 0, 0, 0, 0
		}
	}
}

func raise(to *atomic.Int64, value int64) {
	for {
		old := to.Load()
		if value <= old || to.CompareAndSwap(old, value) {
			return
		}
	}
}
