package load

import (
	"bufio"
	"net"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// A connection carries one request at a time. Somebody always listens to it, so
// that its end is noticed while it is idle. That the other end closes it while a
// request is on the way to it is a race that every client of HTTP has.
type connection struct {
	net.Conn
	local  string
	direct bool // a small Write does not wait for the other end
	out    []byte

	mu      sync.Mutex
	pending *exchange
	unsent  error     // of pending: it was not sent whole
	sending bool      // out is in use: an answer can be there before all was sent
	parked  bool      // it can be used again as soon as it is not sending any more
	armed   time.Time // Read gives up then, to look whether it should
	used    time.Time
	ended   bool
	served  bool // a request before

	// Of the listener alone.
	in      int   // bytes received for this request
	failure error // of the first Read that failed
	reader  *bufio.Reader
	answer  fasthttp.Response

	pod, node, zone, version string // of the latest answer
}

func newConnection(conn net.Conn) *connection {
	c := &connection{Conn: conn, local: conn.LocalAddr().String(), used: time.Now()}
	c.reader = bufio.NewReaderSize(c, mostHeader)
	if tcp, ok := conn.(*net.TCPConn); ok {
		if wire, err := newWire(tcp); err == nil {
			c.Conn, c.direct = wire, true
		}
	}
	return c
}

// Read counts what arrives and keeps the error, which parsers put into words of
// their own.
func (c *connection) Read(to []byte) (int, error) {
	n, err := c.Conn.Read(to)
	for n == 0 && err != nil && isTimeout(err) && c.rearm(time.Now()) {
		n, err = c.Conn.Read(to)
	}
	c.in += n
	if err != nil && c.failure == nil {
		c.failure = err
	}
	return n, err
}

// rearm has Read go on if it is not yet time to give up. The deadline of a
// connection is not set with each request, which would be costly: one that is
// too early does no harm.
func (c *connection) rearm(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	until := c.used.Add(idleLife)
	if c.pending != nil {
		until = c.pending.deadline
	}
	return now.Before(until) && c.arm(until)
}

func (c *connection) arm(until time.Time) bool {
	c.armed = until
	return c.SetReadDeadline(until) == nil
}

// begin hands x, which is about to be sent, over to the listener. It does not if
// the connection has ended.
func (c *connection) begin(x *exchange, now time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.pending, c.unsent, c.sending = x, nil, true
	if c.armed.IsZero() || c.armed.After(x.deadline) {
		c.arm(x.deadline) // if the connection was closed, Read says so
	}
	x.told.Conn, x.told.Reused, x.told.Sent, x.told.Out = c.local, c.served, now, len(c.out)
	return true
}

// send writes what begin announced, and tells whether the connection is the
// caller's to give on. The listener finishes the exchange whatever happens: an
// answer may be there although the request could not be sent whole.
func (c *connection) send(x *exchange) (parked bool) {
	n, err := c.Write(c.out)
	return c.wasSent(x, n, err)
}

// sendSlowly is send of what may have to wait for the other end.
func (c *connection) sendSlowly(x *exchange, deadline time.Time) (parked bool) {
	_ = c.SetWriteDeadline(deadline) // an error is one of Write too
	n, err := c.Write(c.out)
	_ = c.SetWriteDeadline(time.Time{})
	return c.wasSent(x, n, err)
}

func (c *connection) wasSent(x *exchange, n int, err error) (parked bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && c.pending == x {
		x.told.Out, c.unsent = n, err
	}
	parked, c.parked, c.sending = c.parked, false, false
	if parked && err != nil {
		c.close() // which the listener hears
		return false
	}
	return parked
}

// rest tells whether the connection is the caller's to give on; otherwise it is
// the sender's, when it is done.
func (c *connection) rest() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parked = c.sending
	return !c.sending
}

// current is the exchange that is under way. If there is none, the connection is
// of no more use.
func (c *connection) current() *exchange {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = c.pending == nil
	return c.pending
}

// end takes the exchange from the connection, and tells why it was not sent.
func (c *connection) end() (unsent error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending, c.served, c.used = nil, true, time.Now()
	return c.unsent
}

func (c *connection) close() { _ = c.Conn.Close() }

// keep is a text as a string, and the string at hand if it says the same.
func keep(at *string, text []byte) string {
	if *at != string(text) {
		*at = string(text)
	}
	return *at
}
