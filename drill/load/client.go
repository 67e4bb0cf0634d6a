package load

import (
	"fmt"
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

	mu      sync.Mutex
	most    int
	open    int // connections, and places for one that is being opened
	idle    []*connection
	waiting []chan *connection
	stale   int // found closed or too old while idle
}

// take gives a connection that is idle and alive; or nil, and then the caller has
// a place to open one and gives it back with leave if it can't; or a turn to
// await.
func (c *client) take() (conn *connection, turn chan *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.idle) > 0 {
		conn = c.idle[len(c.idle)-1]
		c.idle = c.idle[:len(c.idle)-1]
		if conn.usable(time.Now()) {
			return conn, nil
		}
		conn.close()
		c.open--
		c.stale++
	}
	if c.open < c.most {
		c.open++
		return nil, nil
	}
	turn = make(chan *connection, 1)
	c.waiting = append(c.waiting, turn)
	return nil, turn
}

// await gives what take gives, when it is the caller's turn.
func (c *client) await(turn chan *connection, deadline time.Time) (*connection, error) {
	late := time.NewTimer(time.Until(deadline))
	defer late.Stop()
	select {
	case conn := <-turn:
		return conn, nil
	case <-late.C:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	at := slices.Index(c.waiting, turn)
	if at < 0 { // it was handed over meanwhile
		return <-turn, nil
	}
	c.waiting = slices.Delete(c.waiting, at, at+1)
	return nil, fmt.Errorf("all %d connections of the client were busy", c.most)
}

// give returns a connection that can be used again.
func (c *client) give(conn *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) > 0 {
		c.handOver(conn)
		return
	}
	c.idle = append(c.idle, conn)
}

// leave gives up the place of a connection that is no more.
func (c *client) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) > 0 {
		c.handOver(nil)
		return
	}
	c.open--
}

func (c *client) handOver(conn *connection) {
	turn := c.waiting[0]
	c.waiting = slices.Delete(c.waiting, 0, 1)
	turn <- conn
}

// sweep closes what is idle and was closed by the other end or lived too long,
// as a client does that always listens.
func (c *client) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := len(c.idle)
	c.idle = slices.DeleteFunc(c.idle, func(conn *connection) bool {
		if conn.usable(now) {
			return false
		}
		conn.close()
		return true
	})
	c.open -= before - len(c.idle)
	c.stale += before - len(c.idle)
}

func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.idle {
		conn.close()
	}
	c.open -= len(c.idle)
	c.idle = nil
}
