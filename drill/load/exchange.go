package load

import (
	"context"
	"fmt"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/nines-ha/nines/record"
)

// An exchange is an attempt on its way. It belongs to one goroutine at a time.
type exchange struct {
	told     record.Request
	asked    *Request
	deadline time.Time     // of this attempt
	after    time.Duration // the answer asks not to come back before
	earlier  *earlier      // nil: it is the first attempt
}

// start sends a request as soon as there is a connection for it. It does not
// wait: nearly every request finds an idle connection and leaves from here.
func (r *run) start(c *client, x *exchange) {
	if !c.traffic.TryLock() {
		r.sending.Go(func() { r.approach(c, x) })
		return
	}
	conn, place := c.take(x)
	if conn != nil {
		r.askLocked(c, x)
	}
	c.traffic.Unlock()
	switch {
	case place:
		r.sending.Go(func() { r.connect(c, x) })
	case conn != nil && !r.send(c, conn, x):
		r.sending.Go(func() { r.approach(c, x) })
	}
}

// approach sends a request on a connection that is idle or new, or makes it wait
// for one.
func (r *run) approach(c *client, x *exchange) {
	for {
		conn, place := c.take(x)
		if place {
			r.connect(c, x)
		}
		if conn == nil {
			return
		}
		r.ask(c, x)
		if r.send(c, conn, x) {
			return
		}
	}
}

// connect opens a connection in a place that the client has for it, and sends.
func (r *run) connect(c *client, x *exchange) {
	for x != nil {
		conn, err := r.open(c, min(r.Connect, time.Until(x.deadline)))
		r.ask(c, x)
		if err == nil {
			if r.send(c, conn, x) {
				return
			}
			r.approach(c, x) // its listener has left the place
			return
		}
		x.told.Conn = dialledFrom(err)
		r.fail(x, dialFailure(err), err.Error())
		if x = c.leave(); x != nil {
			r.waited(x)
		}
	}
}

// expire gives up what waited until its deadline.
func (r *run) expire(c *client) {
	for _, x := range c.expired(time.Now()) {
		r.waited(x)
		r.ask(c, x)
		r.fail(x, record.Timeout, fmt.Sprintf("all %d connections of the client were busy", c.most))
	}
}

func (r *run) waited(x *exchange) { x.told.Waited = r.now() - x.told.Taken }

// open makes a connection within limit and listens to it.
func (r *run) open(c *client, limit time.Duration) (*connection, error) {
	ctx, cancel := context.WithTimeout(r.patient, limit)
	defer cancel()
	raw, err := r.Dial(ctx, c.number)
	if err != nil {
		return nil, err
	}
	r.opened.Add(1)
	conn := newConnection(raw)
	r.listening.Go(func() { r.listen(c, conn) })
	return conn, nil
}

// send gives a request to a connection; it does not if that has ended.
func (r *run) send(c *client, conn *connection, x *exchange) bool {
	r.compose(conn, x)
	deadline := x.deadline
	if !conn.begin(x, r.now()) { // x is the listener's from here
		return false
	}
	if conn.direct && len(conn.out) <= mostDirect {
		if conn.send(x) {
			r.give(c, conn)
		}
		return true
	}
	r.sending.Go(func() {
		if conn.sendSlowly(x, deadline) {
			r.give(c, conn)
		}
	})
	return true
}

// give makes a connection available, or uses it for a request that waits.
func (r *run) give(c *client, conn *connection) {
	if x := c.give(conn); x != nil {
		r.waited(x)
		r.ask(c, x)
		if !r.send(c, conn, x) {
			r.sending.Go(func() { r.approach(c, x) })
		}
	}
}

// listen reads answers until the connection ends.
func (r *run) listen(c *client, conn *connection) {
	for r.hear(c, conn) {
	}
	conn.close()
	if x := c.leave(); x != nil {
		r.waited(x)
		r.sending.Go(func() { r.connect(c, x) })
	}
}

// hear reads one answer. It tells whether the connection can be used again.
func (r *run) hear(c *client, conn *connection) bool {
	_, err := conn.reader.Peek(1)
	x := conn.current()
	if x == nil {
		c.forget(conn)
		return false
	}
	told := &x.told
	if err == nil {
		told.First = r.now()
		conn.answer.SkipBody = x.asked.Method == fasthttp.MethodHead
		err = conn.answer.ReadLimitBody(conn.reader, mostBody)
	}
	told.In = conn.in
	unsent := conn.end()
	switch {
	case err == nil:
	case unsent != nil:
		r.fail(x, writeFailure(unsent), unsent.Error())
		return false
	case conn.failure != nil:
		r.fail(x, readFailure(conn.failure), conn.failure.Error())
		return false
	default:
		r.fail(x, record.Malformed, err.Error())
		return false
	}
	told.Done = r.now()
	r.understand(c, conn, x)
	if unsent != nil || conn.failure != nil || conn.answer.ConnectionClose() || conn.reader.Buffered() > 0 {
		r.finish(x)
		return false
	}
	conn.in = 0
	if conn.rest() {
		r.give(c, conn)
	}
	r.finish(x) // last, because a run whose requests are all finished closes what is idle
	return true
}

func (r *run) understand(c *client, conn *connection, x *exchange) {
	header, body, told := &conn.answer.Header, conn.answer.Body(), &x.told
	told.Status = header.StatusCode()
	told.Pod = keep(&conn.pod, header.Peek("X-Served-By-Pod"))
	told.Node = keep(&conn.node, header.Peek("X-Served-By-Node"))
	told.Zone = keep(&conn.zone, header.Peek("X-Served-By-Zone"))
	told.Version = keep(&conn.version, header.Peek("X-Served-By-Version"))
	if told.Status >= 400 {
		told.Detail = explain(string(header.ContentType()), body)
		x.after = retryAfter(header.Peek("Retry-After"), time.Now)
	}
	c.traffic.Lock()
	r.Traffic.Answered(c.number, x.asked, told.Status, body, told)
	c.traffic.Unlock()
	told.Detail = bounded(told.Detail)
}

// compose writes the request into the connection's buffer, so that it leaves in
// one piece.
func (r *run) compose(conn *connection, x *exchange) {
	asked := x.asked
	header := r.headers.Get().(*fasthttp.RequestHeader)
	defer r.headers.Put(header)
	header.Reset()
	header.SetNoDefaultContentType(true)
	header.SetMethod(asked.Method)
	header.SetRequestURI(asked.Path)
	header.SetHost(r.Host)
	header.SetUserAgent("nines")
	header.Set("X-Request-Id", x.told.ID)
	if parent := record.TraceParent(x.told.ID, x.told.Sampled); parent != "" {
		header.Set("Traceparent", parent) // a gateway gives a request an ID of its own
	}
	if x.told.Sampled {
		// Envoy keeps a trace if its parent says so and it wants to itself, and this is
		// what clients make it want to by (from 1.39 on, envoyproxy/envoy#45830).
		header.Set("X-Client-Trace-Id", x.told.ID)
	}
	if r.Retry.Attempts > 1 && asked.Idempotent && asked.Write != nil {
		header.Set("Idempotency-Key", x.first())
	}
	for name, value := range asked.Headers {
		header.Set(name, value)
	}
	if asked.Type != "" {
		header.SetContentType(asked.Type)
	}
	if len(asked.Body) > 0 || asked.Method == fasthttp.MethodPost || asked.Method == fasthttp.MethodPut || asked.Method == fasthttp.MethodPatch {
		header.SetContentLength(len(asked.Body))
	}
	conn.out = append(header.AppendBytes(conn.out[:0]), asked.Body...)
}
