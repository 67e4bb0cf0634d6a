package load

import (
	"slices"
	"sync"
	"time"
)

// A client is one of the population. It uses the connection that was used last,
// opens another one when all are busy, and makes a request wait when it may open
// no more.
type client struct {
	number  int
	traffic sync.Mutex // held in calls of Traffic
	budget  *budget

	mu      sync.Mutex
	most    int
	open    int // connections, and places for one that is being opened
	idle    []*connection
	waiting []*exchange // in the order of their deadlines
	late    *time.Timer // rings when the first of them is past its deadline
	stale   int         // connections that ended while they were idle
}

func (c *client) latest() *connection {
	last := len(c.idle) - 1
	if last < 0 {
		return nil
	}
	conn := c.idle[last]
	c.idle = c.idle[:last]
	return conn
}

// take gives a connection that is idle; or a place to open one, which leave gives
// back; or neither, and then x waits.
func (c *client) take(x *exchange) (conn *connection, place bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn = c.latest(); conn != nil {
		return conn, false
	}
	if c.open < c.most {
		c.open++
		return nil, true
	}
	// The deadline of a last attempt can be nearer than those of requests that wait
	// for longer; all others come in order.
	at := len(c.waiting)
	for at > 0 && x.deadline.Before(c.waiting[at-1].deadline) {
		at--
	}
	if c.waiting = slices.Insert(c.waiting, at, x); at == 0 {
		c.late.Reset(time.Until(x.deadline))
	}
	return nil, false
}

// expired takes what has waited too long.
func (c *client) expired(now time.Time) []*exchange {
	c.mu.Lock()
	defer c.mu.Unlock()
	over := 0
	for over < len(c.waiting) && !now.Before(c.waiting[over].deadline) {
		over++
	}
	gone := slices.Clone(c.waiting[:over])
	if c.waiting = slices.Delete(c.waiting, 0, over); len(c.waiting) > 0 {
		c.late.Reset(time.Until(c.waiting[0].deadline))
	}
	return gone
}

// give returns a connection that can be used again, unless a request waits for
// it: then that is to be sent.
func (c *client) give(conn *connection) *exchange {
	c.mu.Lock()
	defer c.mu.Unlock()
	if x := c.first(); x != nil {
		return x
	}
	c.idle = append(c.idle, conn)
	return nil
}

// leave gives up the place of a connection that is no more, unless a request
// waits for it: then a connection is to be opened in its place.
func (c *client) leave() *exchange {
	c.mu.Lock()
	defer c.mu.Unlock()
	if x := c.first(); x != nil {
		return x
	}
	c.open--
	return nil
}

func (c *client) first() *exchange {
	if len(c.waiting) == 0 {
		return nil
	}
	x := c.waiting[0]
	c.waiting = slices.Delete(c.waiting, 0, 1)
	return x
}

// forget takes a connection that ended while it was idle from the others.
func (c *client) forget(conn *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := slices.Index(c.idle, conn); at >= 0 {
		c.idle = slices.Delete(c.idle, at, at+1)
	}
	c.stale++
}

// close ends all connections; none may be in use. It tells how many had ended
// by themselves.
func (c *client) close() (stale int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.late.Stop()
	for _, conn := range c.idle {
		conn.close()
	}
	c.idle = nil
	return c.stale
}
