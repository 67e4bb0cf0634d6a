package load

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/nines-ha/nines/record"
)

// run is a load under way.
type run struct {
	Config
	*account
	clients   []*client
	patient   context.Context // of what was taken up: it outlasts the load
	origin    time.Time       // of the monotonic clock
	offset    time.Duration   // from Started to origin
	most      int64           // in flight
	sending   sync.WaitGroup  // requests
	listening sync.WaitGroup  // connections
	spare     sync.Pool       // of *Request
	headers   sync.Pool       // of *fasthttp.RequestHeader
	opened    atomic.Int64
	label     string // of ids
}

// Run sends the load that c asks for until its schedule or ctx ends, then waits
// for what is in flight, at most for a deadline, and for all of it to be told.
// The end of ctx is no error.
func Run(ctx context.Context, c Config) (Summary, error) {
	if err := c.check(); err != nil {
		return Summary{}, fmt.Errorf("load: %w", err)
	}
	pace, err := newTimer(ctx)
	if err != nil {
		return Summary{}, fmt.Errorf("load: %w", err)
	}
	defer pace.close()
	return newRun(c).carryOut(ctx, pace)
}

func newRun(c Config) *run {
	origin := time.Now()
	r := &run{
		Config: c, account: newAccount(&c), origin: origin, offset: origin.Sub(c.Started), most: int64(c.flightLimit()),
		clients: make([]*client, c.Clients),
	}
	r.label = Label(c.Seed)
	r.spare.New = func() any { return new(Request) }
	r.headers.New = func() any { return new(fasthttp.RequestHeader) }
	each := c.connectionLimit()
	for i := range r.clients {
		c := &client{number: i, most: each, budget: newBudget(r.Retry.Budget)}
		c.late = time.AfterFunc(math.MaxInt64, func() { r.expire(c) })
		r.clients[i] = c
	}
	return r
}

func (r *run) now() time.Duration { return r.offset + time.Since(r.origin) }

func (r *run) carryOut(ctx context.Context, pace pace) (Summary, error) {
	var helpers, teller sync.WaitGroup
	stop := make(chan struct{})
	machine := newMachine()
	teller.Go(r.telling)
	helpers.Go(func() { r.seconds(stop, r.now, machine) })

	r.patient = context.WithoutCancel(ctx)
	err := r.dispatch(ctx, pace)
	r.due.Store(noneDue)
	r.sending.Wait()
	close(stop)
	helpers.Wait()
	close(r.items)
	teller.Wait()
	stale := 0
	for _, c := range r.clients {
		stale += c.close()
	}
	r.listening.Wait()
	return Summary{
		Scheduled: int(r.scheduled.Load()), Answered: int(r.answered.Load()), Failed: int(r.failed.Load()), NotSent: int(r.notSent.Load()),
		Retried: int(r.retried.Load()), Lag: r.worst, Opened: int(r.opened.Load()), Stale: stale,
	}, err
}

// dispatch takes up each request when it is due. Its error is one of the clock;
// that ctx ended is none.
func (r *run) dispatch(ctx context.Context, pace pace) error {
	// One source each, so that the order of clients does not depend on the kind of
	// arrivals.
	times := &arrivals{Schedule: r.Schedule, random: rand.New(rand.NewPCG(r.Seed, 1))}
	turns := newTurns(len(r.clients), rand.New(rand.NewPCG(r.Seed, 2)))
	grain := r.Schedule.grain()
	begin := r.now()
	for number := uint64(0); ; number++ {
		at, more := times.next()
		if !more {
			return nil
		}
		due := begin + at
		r.due.Store(int64(due))
		if err := r.ready(ctx); err != nil {
			return nil
		}
		wait := due - r.now()
		if wait > 0 {
			wait = max(wait, grain)
		}
		if err := pace.sleep(ctx, wait); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("load: %w", err)
		}
		r.takeUp(number, r.clients[turns.next()], due)
	}
}

func (r *run) takeUp(number uint64, c *client, due time.Duration) {
	x := &exchange{told: record.Request{ID: r.id(number), Client: c.number, Scheduled: due, Taken: r.now(), Sampled: r.sampled(number)}}
	x.deadline = r.until(x, due)
	lag := x.told.Taken - due
	r.taken(lag)
	r.sending.Add(1)
	switch {
	case r.inFlight.Load() > r.most:
		r.refuse(c, x, fmt.Sprintf("%d requests were in flight already", r.most))
	case lag >= r.Deadline:
		r.refuse(c, x, fmt.Sprintf("the generator was %s behind", lag.Round(time.Millisecond)))
	default:
		r.start(c, x)
	}
}

// Label begins the ids of all requests of a run with this seed: eight digits.
func Label(seed uint64) string {
	var bytes [4]byte
	binary.BigEndian.PutUint32(bytes[:], uint32(seed)^uint32(seed>>32))
	return hex.EncodeToString(bytes[:])
}

// sampled says whether a request asks to be traced: of each hundred as many as the
// share says, and the same ones in each run.
func (r *run) sampled(number uint64) bool {
	upTo := func(n uint64) uint64 { return uint64(float64(n) * r.Sample) }
	return upTo(number+1) > upTo(number)
}

// id is unique in a run, and the same in each run with this seed.
func (r *run) id(number uint64) string {
	var text [25]byte
	copy(text[:], r.label)
	text[8] = '-'
	var digits [8]byte
	binary.BigEndian.PutUint64(digits[:], number)
	hex.Encode(text[9:], digits[:])
	return string(text[:])
}

// refuse tells of a request that the generator itself could not send.
func (r *run) refuse(c *client, x *exchange, why string) {
	r.ask(c, x)
	r.fail(x, record.NotSent, why)
}

// ask has the traffic make the request, once.
func (r *run) ask(c *client, x *exchange) {
	if x.asked == nil {
		c.traffic.Lock()
		defer c.traffic.Unlock()
		r.askLocked(c, x)
	}
}

func (r *run) askLocked(c *client, x *exchange) {
	x.asked = r.spare.Get().(*Request)
	*x.asked = Request{}
	r.Traffic.Next(c.number, x.asked)
	x.told.Op, x.told.To, x.told.Write = x.asked.Op, x.asked.To, x.asked.Write
}

func (r *run) fail(x *exchange, class record.Class, why string) {
	x.told.Done, x.told.Error, x.told.Detail = r.now(), class, bounded(why)
	r.finish(x)
}

// finish is the end of an attempt, and of its request if there is to be no other:
// nothing of it is touched after.
func (r *run) finish(x *exchange) {
	if r.Retry.Attempts > 1 && r.tryAgain(x) {
		return
	}
	if !x.told.Failed() {
		r.clients[x.told.Client].budget.earn()
	}
	r.spare.Put(x.asked)
	r.done(&x.told)
	r.sending.Done()
}
