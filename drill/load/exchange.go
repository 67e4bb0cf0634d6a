package load

import (
	"context"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/nines-ha/nines/record"
)

// carry brings one request from where it was taken up to where it is told.
func (r *run) carry(ctx context.Context, c *client, told *record.Request) {
	defer r.done(told)
	deadline := r.origin.Add(told.Scheduled + r.Deadline - r.offset)
	conn, turn := c.take()
	if turn != nil {
		var err error
		conn, err = c.await(turn, deadline)
		told.Waited = r.now() - told.Taken
		if err != nil {
			r.spare.Put(r.next(c, told))
			r.fail(told, record.Timeout, err.Error())
			return
		}
	}
	if conn == nil {
		var err error
		if conn, err = r.open(ctx, c, min(r.Connect, time.Until(deadline))); err != nil {
			c.leave()
			r.spare.Put(r.next(c, told))
			r.fail(told, dialFailure(err), err.Error())
			return
		}
	}
	asked := r.next(c, told)
	again := r.exchange(c, conn, asked, told, deadline)
	r.spare.Put(asked)
	if !again {
		conn.close()
		c.leave()
		return
	}
	conn.since, conn.served = time.Now(), true
	c.give(conn)
}

// open makes a connection within limit.
func (r *run) open(ctx context.Context, c *client, limit time.Duration) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := r.Dial(ctx, c.number)
	if err != nil {
		return nil, err
	}
	r.opened.Add(1)
	return newConnection(conn), nil
}

// exchange sends a request and reads its answer. It tells whether the connection
// can be used again.
func (r *run) exchange(c *client, conn *connection, asked *Request, told *record.Request, deadline time.Time) bool {
	told.Conn, told.Reused = conn.local, conn.served
	conn.in, conn.failure = 0, nil
	r.compose(conn, asked, told.ID)
	if err := conn.SetDeadline(deadline); err != nil {
		r.fail(told, record.Reset, err.Error())
		return false
	}
	told.Sent = r.now()
	out, err := conn.Write(conn.out)
	told.Out = out
	if err != nil {
		r.fail(told, writeFailure(err), err.Error())
		return false
	}
	conn.answer.SkipBody = asked.Method == fasthttp.MethodHead
	if _, err = conn.reader.Peek(1); err == nil {
		told.First = r.now()
		err = conn.answer.ReadLimitBody(conn.reader, mostBody)
	}
	told.In = conn.in
	if err != nil {
		if conn.failure != nil {
			err = conn.failure
		}
		r.fail(told, readFailure(conn.failure), err.Error())
		return false
	}
	told.Done = r.now()
	r.understand(c, conn, asked, told)
	return !conn.answer.ConnectionClose() && conn.failure == nil && conn.reader.Buffered() == 0
}

func (r *run) understand(c *client, conn *connection, asked *Request, told *record.Request) {
	header, body := &conn.answer.Header, conn.answer.Body()
	told.Status = header.StatusCode()
	told.Pod = keep(&conn.pod, header.Peek("X-Served-By-Pod"))
	told.Node = keep(&conn.node, header.Peek("X-Served-By-Node"))
	told.Zone = keep(&conn.zone, header.Peek("X-Served-By-Zone"))
	told.Version = keep(&conn.version, header.Peek("X-Served-By-Version"))
	if told.Status >= 400 {
		told.Detail = explain(string(header.ContentType()), body)
	}
	c.traffic.Lock()
	r.Traffic.Answered(c.number, asked, told.Status, body, told)
	c.traffic.Unlock()
	told.Detail = bounded(told.Detail)
}

// compose writes the request into the connection's buffer, so that it leaves in
// one piece.
func (r *run) compose(conn *connection, asked *Request, id string) {
	header := r.headers.Get().(*fasthttp.RequestHeader)
	defer r.headers.Put(header)
	header.Reset()
	header.SetNoDefaultContentType(true)
	header.SetMethod(asked.Method)
	header.SetRequestURI(asked.Path)
	header.SetHost(r.Host)
	header.SetUserAgent("nines")
	header.Set("X-Request-Id", id)
	if asked.Type != "" {
		header.SetContentType(asked.Type)
	}
	if len(asked.Body) > 0 || asked.Method == fasthttp.MethodPost || asked.Method == fasthttp.MethodPut || asked.Method == fasthttp.MethodPatch {
		header.SetContentLength(len(asked.Body))
	}
	conn.out = append(header.AppendBytes(conn.out[:0]), asked.Body...)
}
