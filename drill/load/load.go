// Package load sends requests on a schedule of its own, as many clients would,
// and tells about every one of them. Call Run. It is an open loop: a request is
// due when it is due, however slow the answers are, and its latency counts from
// then. What failed is tried again as Config.Retry says, and by nothing else. It
// follows no redirect, judges nothing, and knows no API: what is sent, what an
// answer means and what may be sent twice is the Traffic's.
package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"github.com/nines-ha/nines/record"
)

// Config says what to send, where, and when.
type Config struct {
	Host     string // of the Host header
	Dial     func(ctx context.Context, client int) (net.Conn, error)
	Clients  int           // a population; each has connections of its own
	Schedule Schedule      // when requests are due
	Deadline time.Duration // of a request with all its attempts, from its scheduled time
	Connect  time.Duration // a connection attempt is given up after this
	Retry    Retry         // what clients do about what failed; zero: nothing
	// Connections is how many a client opens at most. 0: so many that its share of
	// the rate can be in flight for a whole deadline, and four at least.
	Connections int
	Traffic     Traffic
	Seed        uint64
	Started     time.Time // instants are told relative to it
	// Sample is the share of the requests, spread evenly, that ask to be traced.
	Sample float64

	// Tell hears of each attempt soon after it is done, from one goroutine, and may
	// keep it. When it is slower than the load, requests are taken up late: none is
	// lost, and the lag shows. Second is called once a second from the same
	// goroutine; it may be nil.
	Tell   func(*record.Request)
	Second func(record.Second)
}

// Traffic makes requests and understands answers. It is called from many
// goroutines at once, but never at once for the same client.
type Traffic interface {
	// Next fills in the next request of a client. It is called when the request has
	// its connection, or is known to get none: in the order in which they are sent.
	Next(client int, out *Request)
	// Answered reads a whole answer to a request that Next made, and completes
	// what the record says of it: Write.Acknowledged, Read, and for an answer
	// that is wrong the Class and Detail. Without an answer it is not called.
	Answered(client int, out *Request, status int, body []byte, told *record.Request)
}

// Request is what Next fills in; the generator resets and reuses it.
type Request struct {
	Op     string
	Method string
	Path   string // with the query
	Type   string // Content-Type
	Body   []byte
	Write  *record.Write
	Entity string // of a read
	// Idempotent says that to send it twice does no harm, so that it may be tried
	// again. A retry is the same request to the byte but for its X-Request-Id.
	Idempotent bool
	// Headers are more of them, for the service To.
	Headers map[string]string
	To      string
}

// Arrivals is how requests are spread over time.
type Arrivals string

const (
	Constant Arrivals = "constant" // evenly
	Poisson  Arrivals = "poisson"  // independently of each other
)

// A Summary counts what was done. Answered, Failed and NotSent add up to
// Scheduled: they are about what came of a request in the end.
type Summary struct {
	Scheduled int
	Answered  int           // well: see record.Request.Failed
	Failed    int           // sent or tried, but not so answered
	Retried   int           // attempts besides the first ones
	NotSent   int           // by the generator's own fault
	Lag       time.Duration // the worst Taken - Scheduled
	Opened    int           // connections that were established
	Stale     int           // connections that the other end closed while they were idle, or that were idle for a minute
}

// A Schedule is stages, one after the other.
type Schedule struct {
	Arrivals Arrivals
	Stages   []Stage
}

// A Stage is a rate for a time; a Length of 0 lasts until the context ends.
type Stage struct {
	Rate   float64 // requests a second
	Length time.Duration
}

// limits of what a run holds at once, whatever is asked of it.
const (
	mostInFlight = 32768
	mostUntold   = 65536
	mostBody     = 1 << 20 // bytes of an answer
	mostHeader   = 4 << 10 // bytes of its head
	mostDirect   = 4 << 10 // bytes of a request that any socket takes at once
	mostDetail   = 200     // bytes
	idleLife     = time.Minute
)

func (c *Config) check() error {
	switch {
	case c.Dial == nil || c.Traffic == nil || c.Tell == nil:
		return errors.New("load needs Dial, Traffic and Tell")
	case c.Clients < 1:
		return fmt.Errorf("%d clients cannot send anything: set at least 1", c.Clients)
	case c.Deadline <= 0 || c.Connect <= 0:
		return fmt.Errorf("deadline %s and connect timeout %s must be positive", c.Deadline, c.Connect)
	case c.Started.IsZero():
		return errors.New("load needs the time that instants are relative to")
	case !(c.Sample >= 0 && c.Sample <= 1):
		return fmt.Errorf("a sample of %v of the requests: it is a share, 0 to 1", c.Sample)
	case c.Connections < 0:
		return fmt.Errorf("%d connections a client: set 0 to have it derived", c.Connections)
	}
	if err := c.Retry.check(); err != nil {
		return err
	}
	return c.Schedule.check()
}

// flightLimit is how many requests can be on their way at once without anything
// being wrong with the generator: all that are due within a deadline, and what
// chance adds.
func (c *Config) flightLimit() int {
	within := c.Schedule.highest() * c.Deadline.Seconds()
	return int(min(within+6*math.Sqrt(within)+64, mostInFlight))
}

func (c *Config) connectionLimit() int {
	if c.Connections > 0 {
		return c.Connections
	}
	share := c.Schedule.highest() * c.Deadline.Seconds() / float64(c.Clients)
	return 3 + int(math.Ceil(min(share, mostInFlight)))
}

func (c *Config) untoldLimit() int {
	return int(min(max(256, c.Schedule.highest()), mostUntold))
}
