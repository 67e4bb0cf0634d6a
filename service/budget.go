package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// budgetHeader says how many milliseconds the caller will wait. Envoy sets it on
// every request that has a route timeout, and so does Client.
const budgetHeader = "X-Envoy-Expected-Rq-Timeout-Ms"

// ioGrace is how long after its deadline a request may still read and write, so
// that a handler has time to say that it is late.
const ioGrace = time.Second

// budget gives the request the shorter of the route's timeout and the caller's.
func (rt *route) budget(r *http.Request, ex *exchange) (context.Context, context.CancelFunc, error) {
	timeout := rt.timeout
	if asked, ok := askedBudget(r.Header); ok && (timeout == 0 || asked < timeout) {
		timeout = asked
	}
	if timeout == 0 {
		ctx, cancel := context.WithCancel(r.Context())
		return ctx, cancel, setDeadlines(ex.writer, time.Time{})
	}
	deadline := ex.began.Add(timeout)
	ctx, cancel := context.WithDeadline(r.Context(), deadline)
	return ctx, cancel, setDeadlines(ex.writer, deadline.Add(ioGrace))
}

// setDeadlines replaces those of the server, which sets its own again for the
// next request of the connection. The one for reading matters without a body
// too: when it passes, net/http cancels the request.
func setDeadlines(w http.ResponseWriter, at time.Time) error {
	control := http.NewResponseController(w)
	if err := errors.Join(control.SetReadDeadline(at), control.SetWriteDeadline(at)); err != nil {
		return fmt.Errorf("set deadline of the connection: %w", err)
	}
	return nil
}

func askedBudget(header http.Header) (time.Duration, bool) {
	const longest = 24 * time.Hour
	values := header[budgetHeader]
	if len(values) != 1 {
		return 0, false
	}
	ms, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil || ms <= 0 || ms > int64(longest/time.Millisecond) {
		return 0, false
	}
	return time.Duration(ms) * time.Millisecond, true
}
