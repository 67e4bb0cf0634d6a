package load

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
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
	clients []*client
	origin  time.Time     // of the monotonic clock
	offset  time.Duration // from Started to origin
	most    int64         // in flight
	sending sync.WaitGroup
	spare   sync.Pool // of *Request
	headers sync.Pool // of *fasthttp.RequestHeader
	opened  atomic.Int64
	label   [8]byte // of ids: the seed
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
	var seed [4]byte
	binary.BigEndian.PutUint32(seed[:], uint32(c.Seed)^uint32(c.Seed>>32))
	hex.Encode(r.label[:], seed[:])
	r.spare.New = func() any { return new(Request) }
	r.headers.New = func() any { return new(fasthttp.RequestHeader) }
	each := c.connectionLimit()
	for i := range r.clients {
		r.clients[i] = &client{number: i, most: each}
	}
	return r
}

func (r *run) now() time.Duration { return r.offset + time.Since(r.origin) }

func (r *run) carryOut(ctx context.Context, pace pace) (Summary, error) {
	var helpers, teller sync.WaitGroup
	stop := make(chan struct{})
	machine := newMachine()
	teller.Go(r.telling)
	helpers.Go(func() { r.seconds(stop, r.now, machine, r.sweep) })

	err := r.dispatch(ctx, pace)
	r.due.Store(noneDue)
	r.sending.Wait()
	close(stop)
	helpers.Wait()
	close(r.items)
	teller.Wait()
	stale := 0
	for _, c := range r.clients {
		c.close()
		stale += c.stale
	}
	return Summary{
		Scheduled: int(r.scheduled.Load()), Answered: int(r.answered.Load()), Failed: int(r.failed.Load()), NotSent: int(r.notSent.Load()),
		Lag: r.worst, Opened: int(r.opened.Load()), Stale: stale,
	}, err
}

func (r *run) sweep(now time.Time) {
	for _, c := range r.clients {
		c.sweep(now)
	}
}

// dispatch takes up each request when it is due. Its error is one of the clock;
// that ctx ended is none.
func (r *run) dispatch(ctx context.Context, pace pace) error {
	// One source each, so that the order of clients does not depend on the kind of
	// arrivals.
	times := &arrivals{Schedule: r.Schedule, random: rand.New(rand.NewPCG(r.Seed, 1))}
	turns := newTurns(len(r.clients), rand.New(rand.NewPCG(r.Seed, 2)))
	patient := context.WithoutCancel(ctx)
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
		if err := pace.sleep(ctx, due-r.now()); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("load: %w", err)
		}
		r.takeUp(patient, number, r.clients[turns.next()], due)
	}
}

func (r *run) takeUp(ctx context.Context, number uint64, c *client, due time.Duration) {
	told := &record.Request{ID: r.id(number), Client: c.number, Scheduled: due, Taken: r.now()}
	lag := told.Taken - due
	r.taken(lag)
	switch {
	case r.inFlight.Load() > r.most:
		r.refuse(c, told, fmt.Sprintf("%d requests were in flight already", r.most))
	case lag >= r.Deadline:
		r.refuse(c, told, fmt.Sprintf("the generator was %s behind", lag.Round(time.Millisecond)))
	default:
		r.sending.Go(func() { r.carry(ctx, c, told) })
	}
}

// id is unique in a run, and the same in each run with this seed.
func (r *run) id(number uint64) string {
	var text [25]byte
	copy(text[:], r.label[:])
	text[8] = '-'
	var digits [8]byte
	binary.BigEndian.PutUint64(digits[:], number)
	hex.Encode(text[9:], digits[:])
	return string(text[:])
}

// refuse tells of a request that the generator itself could not send.
func (r *run) refuse(c *client, told *record.Request, why string) {
	r.spare.Put(r.next(c, told))
	r.fail(told, record.NotSent, why)
	r.done(told)
}

// next asks the traffic for the request that told is about.
func (r *run) next(c *client, told *record.Request) *Request {
	asked := r.spare.Get().(*Request)
	*asked = Request{}
	c.traffic.Lock()
	r.Traffic.Next(c.number, asked)
	c.traffic.Unlock()
	told.Op, told.Write = asked.Op, asked.Write
	return asked
}

func (r *run) fail(told *record.Request, class record.Class, why string) {
	told.Done, told.Error, told.Detail = r.now(), class, bounded(why)
}
