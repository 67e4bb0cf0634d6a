package impair

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

// send asks from a connection of its own and tells when the answer is there.
func (s *sham) send(ctx context.Context, path string) <-chan result {
	s.t.Helper()
	answered := make(chan result, 1)
	c := s.browser(s.client)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://10.7.0.2:8080/"+path, strings.NewReader("you"))
	if err != nil {
		s.t.Fatal(err)
	}
	began := time.Now()
	go func() {
		defer close(answered)
		resp, err := c.Do(request)
		if err != nil {
			return // the channel is closed without an answer
		}
		defer resp.Body.Close()
		answered <- result{status: resp.StatusCode, took: time.Since(began)}
	}()
	return answered
}

// sendInTurn sends the next when the one before has arrived.
func (s *sham) sendInTurn(p *Pod, ctx context.Context, paths ...string) (all []<-chan result) {
	s.t.Helper()
	for _, path := range paths {
		before := p.Status().Requests
		all = append(all, s.send(ctx, path))
		for deadline := time.Now().Add(patience); p.Status().Requests == before; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				s.t.Fatalf("%s does not arrive", path)
			}
		}
	}
	return all
}

func (s *sham) paths() string {
	var all []string
	for _, r := range s.seen() {
		all = append(all, strings.TrimPrefix(r.URL.Path, "/"))
	}
	return strings.Join(all, " ")
}

// One at a time, in the order in which they came, and each takes its time.
func TestLine(t *testing.T) {
	s := newSham(t)
	const each = 400 * time.Millisecond
	p := s.impair(Impairment{Port: port, AtOnce: 1, Delay: each})
	began := time.Now()
	for i, answered := range s.sendInTurn(p, t.Context(), "a", "b", "c", "d") {
		r := <-answered
		if passed := time.Since(began); r.status != 200 || passed < time.Duration(i+1)*each {
			t.Errorf("answer %d is %+v after %s", i, r, passed)
		}
	}
	if got := s.paths(); got != "a b c d" {
		t.Errorf("served %s", got)
	}
	if r := ask(t, s.browser(s.client), probe); r.status != 200 || r.body != "well" {
		t.Errorf("the probe says %+v", r)
	}
	s.mend(p)
}

func TestSeveralAtOnce(t *testing.T) {
	s := newSham(t)
	p := s.impair(Impairment{Port: port, AtOnce: 2, Delay: time.Minute})
	all := s.sendInTurn(p, t.Context(), "a", "b", "c")
	for deadline := time.Now().Add(patience); len(s.seen()) < 2; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("served %s", s.paths())
		}
	}
	if got := s.paths(); strings.Contains(got, "c") {
		t.Errorf("served %s at once", got)
	}
	s.mend(p) // who waits is served, and nobody waits any more
	for _, answered := range all {
		if r := <-answered; r.status != 200 {
			t.Errorf("answer %+v", r)
		}
	}
	if got := len(s.seen()); got != 3 {
		t.Errorf("served %d", got)
	}
}

// Who goes away leaves the line; the place of one who is being served is taken all
// the same until his time has passed.
func TestCallerLeaves(t *testing.T) {
	s := newSham(t)
	const each = time.Second
	p := s.impair(Impairment{Port: port, AtOnce: 1, Delay: each})
	ctx, leave := context.WithCancel(t.Context())
	began := time.Now()
	gone := s.sendInTurn(p, ctx, "served", "waiting")
	last := s.sendInTurn(p, t.Context(), "last")[0]
	leave()
	for _, answered := range gone {
		if r, ok := <-answered; ok {
			t.Errorf("who left is answered %+v", r)
		}
	}
	if r := <-last; r.status != 200 || time.Since(began) < 2*each {
		t.Errorf("the last is answered %+v after %s", r, time.Since(began))
	}
	if got := s.paths(); got != "served last" {
		t.Errorf("served %s", got)
	}
	s.mend(p)
}
