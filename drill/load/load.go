// Package load sends requests on a schedule of its own, as many clients would,
// and tells about every one of them. Call Run. It is an open loop: a request is
// due when it is due, however slow the answers are, and its latency counts from
// then. It retries nothing, follows no redirect, judges nothing, and knows no
// API: what is sent and what an answer means is the Traffic's.
package load

import (
	"context"
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
	Deadline time.Duration // of a request, from its scheduled time
	Connect  time.Duration // a connection attempt is given up after this
	Traffic  Traffic
	Seed     uint64
	Started  time.Time // instants are told relative to it

	// Tell hears of each request when it is done, from one goroutine. Second is
	// called once a second from the same goroutine; it may be nil.
	Tell   func(*record.Request)
	Second func(record.Second)
}

// Traffic makes requests and understands answers. It is called from many
// goroutines at once, but never at once for the same client.
type Traffic interface {
	// Next fills in the next request of a client.
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
}

// Arrivals is how requests are spread over time.
type Arrivals string

const (
	Constant Arrivals = "constant" // evenly
	Poisson  Arrivals = "poisson"  // independently of each other
)

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
