package impair

import (
	"bytes"
	"io"
	"net/http"
	"time"
)

const (
	mostInLine = 4096
	mostHeld   = 1 << 20 // bytes of a request that waits
)

// A line lets so many requests through at once and makes the others wait, first
// come first served. Each has its place until it is answered, and for least in any
// case: what has begun is finished, whether or not anybody waits for it. Who goes
// away before leaves the line.
type line struct {
	places chan struct{} // has one of each request that is served; Go lets those who wait in by turns
	there  chan struct{} // has one of each request, served or waiting
	least  time.Duration
	mended <-chan struct{}
}

func newLine(atOnce int, least time.Duration, mended <-chan struct{}) *line {
	return &line{places: make(chan struct{}, atOnce), there: make(chan struct{}, mostInLine), least: least, mended: mended}
}

func (l *line) before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case l.there <- struct{}{}:
			defer func() { <-l.there }()
		default:
			panic(http.ErrAbortHandler) // no line is longer
		}
		// A server notices that a caller has gone only when it has read all of his
		// request.
		if err := hold(r); err != nil {
			panic(http.ErrAbortHandler)
		}
		select {
		case l.places <- struct{}{}:
		case <-l.mended:
			next.ServeHTTP(w, r)
			return
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
		least := time.NewTimer(l.least)
		defer least.Stop()
		defer func() {
			select {
			case <-least.C:
			case <-l.mended:
			}
			<-l.places
		}()
		next.ServeHTTP(w, r)
	})
}

// hold takes in the body of a request, but for what is beyond bounds.
func hold(r *http.Request) error {
	held, err := io.ReadAll(io.LimitReader(r.Body, mostHeld))
	if err != nil {
		return err
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(held), r.Body), r.Body}
	return nil
}
