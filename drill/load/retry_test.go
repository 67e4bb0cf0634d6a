package load

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nines-ha/nines/record"
)

// again is visits that may all be repeated.
type again struct{ visits }

func (a *again) Next(client int, out *Request) {
	a.visits.Next(client, out)
	out.Idempotent = true
}

// answers is what a server says, by the connection and the request on it.
type answers func(connection, request int, r *http.Request) string

// retrying runs c against a server over pipes in a bubble, and gives the heads
// that it got.
func retrying(t *testing.T, c Config, answer answers) (Summary, []*http.Request) {
	t.Helper()
	var connections atomic.Int64
	var serving sync.WaitGroup
	var mu sync.Mutex
	var got []*http.Request
	c.Started = time.Now()
	c.Dial = func(context.Context, int) (net.Conn, error) {
		near, far := net.Pipe()
		number := int(connections.Add(1))
		serving.Go(func() {
			defer far.Close()
			in := bufio.NewReader(far)
			for i := 1; ; i++ {
				request, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				if _, err := in.Discard(int(max(request.ContentLength, 0))); err != nil {
					return
				}
				mu.Lock()
				got = append(got, request)
				mu.Unlock()
				text := answer(number, i, request)
				if text == "" {
					return
				}
				if _, err := far.Write([]byte(text)); err != nil {
					return
				}
			}
		})
		return near, nil
	}
	s, err := newRun(c).carryOut(t.Context(), naps{})
	if err != nil {
		t.Fatal(err)
	}
	serving.Wait()
	if s.Scheduled != s.Answered+s.Failed+s.NotSent {
		t.Errorf("the summary does not add up: %+v", s)
	}
	return s, got
}

const refusal = "HTTP/1.1 503 No\r\nContent-Length: 0\r\n"

func policy(j *journal, length time.Duration) Config {
	c := at("answers", j, 10, length)
	c.Traffic, c.Clients, c.Deadline = &again{}, 1, 5*time.Second
	c.Retry = Retry{Attempts: 3, Timeout: time.Second, BackoffMin: 200 * time.Millisecond, BackoffMax: 2 * time.Second}
	return c
}

// chains are the attempts of each request, in order.
func chains(t *testing.T, j *journal) [][]*record.Request {
	t.Helper()
	whole, attempts := record.Merge(slices.Clone(j.requests))
	ids := map[string]bool{}
	for _, r := range j.requests {
		if ids[r.ID] {
			t.Errorf("%s is told twice", r.ID)
		}
		ids[r.ID] = true
	}
	var all [][]*record.Request
	for _, r := range whole {
		chain := attempts[r]
		if chain == nil {
			chain = []*record.Request{r}
		}
		first := chain[0]
		for n, a := range chain {
			last := n == len(chain)-1
			if a.Retries != n || a.Again == last || a.Client != first.Client || a.Op != first.Op {
				t.Errorf("attempt %d of %d: %+v", n+1, len(chain), a)
			}
			if n == 0 {
				continue
			}
			if a.ID != fmt.Sprintf("%s.%d", first.ID, n) || a.Of != first.ID || a.Scheduled < chain[n-1].Done || a.Taken < a.Scheduled {
				t.Errorf("attempt %d: %+v", n+1, a)
			}
			if first.Write != nil && (a.Write == first.Write || a.Write.Version != first.Write.Version || a.Write.Sum != first.Write.Sum) {
				t.Errorf("another write: %+v, %+v", a.Write, first.Write)
			}
		}
		all = append(all, chain)
	}
	return all
}

// The same request is sent again, and what it comes to counts.
func TestRetrySendsTheSameAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		seen := map[string]int{}
		var mu sync.Mutex
		s, got := retrying(t, policy(&j, 2*time.Second), func(_, _ int, r *http.Request) string {
			mu.Lock()
			defer mu.Unlock()
			id, _, _ := strings.Cut(r.Header.Get("X-Request-Id"), ".")
			if seen[id]++; seen[id] < 3 {
				return refusal + "\r\n"
			}
			return good
		})
		if s.Scheduled != 20 || s.Answered != 20 || s.Retried != 40 || len(j.requests) != 60 {
			t.Fatalf("%+v, %d attempts told", s, len(j.requests))
		}
		for _, chain := range chains(t, &j) {
			if len(chain) != 3 || chain[0].Status != 503 || chain[1].Status != 503 || chain[2].Status != 200 {
				t.Fatalf("%+v", chain)
			}
			if w := chain[0].Write; w != nil && (w.Acknowledged || chain[1].Write.Acknowledged || !chain[2].Write.Acknowledged) {
				t.Error("not the last attempt alone acknowledged its write")
			}
			if !chain[2].Reused {
				t.Error("a connection that answered 503 is not used again")
			}
		}
		sent := map[string]string{}
		for _, r := range got {
			id, _, _ := strings.Cut(r.Header.Get("X-Request-Id"), ".")
			key := r.Header.Get("Idempotency-Key")
			if want := map[bool]string{true: id}[r.Method == http.MethodPost]; key != want {
				t.Errorf("%s %s has the key %q, want %q", r.Method, r.Header.Get("X-Request-Id"), key, want)
			}
			what := fmt.Sprint(r.Method, r.URL, r.ContentLength)
			if before, ok := sent[id]; ok && before != what {
				t.Errorf("%s: first %s, then %s", id, before, what)
			}
			sent[id] = what
		}
		var sum record.Second
		for _, second := range j.seconds {
			sum.Scheduled += second.Scheduled
			sum.Answered += second.Answered
			sum.Failed += second.Failed
			sum.Retried += second.Retried
		}
		if sum.Scheduled != 20 || sum.Answered != 20 || sum.Failed != 0 || sum.Retried != 40 {
			t.Errorf("the seconds add up to %+v", sum)
		}
	})
}

// An attempt is given up after its own timeout, and its connection with it.
func TestRetryLeavesWhatTimedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		c := policy(&j, 100*time.Millisecond)
		s, _ := retrying(t, c, func(connection, _ int, _ *http.Request) string {
			if connection == 1 {
				time.Sleep(time.Minute)
			}
			return good
		})
		if s.Answered != 1 || s.Retried != 1 || s.Opened != 2 {
			t.Fatalf("%+v", s)
		}
		chain := chains(t, &j)[0]
		if r := chain[0]; r.Error != record.Timeout || r.Done-r.Scheduled != c.Retry.Timeout {
			t.Errorf("first %+v", r)
		}
		wait := chain[1].Scheduled - chain[0].Done
		if wait < c.Retry.BackoffMin || wait > 3*c.Retry.BackoffMin {
			t.Errorf("waited %s before the second attempt", wait)
		}
		if r := chain[1]; r.Status != 200 || r.Reused {
			t.Errorf("then %+v", r)
		}
	})
}

func TestRetryAfterEachKindOfTrouble(t *testing.T) {
	for name, test := range map[string]struct {
		answer  string
		again   bool
		status  int
		class   record.Class
		harmful bool // to repeat
	}{
		"429":                {answer: "HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n", again: true, status: 429},
		"502":                {answer: "HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n", again: true, status: 502},
		"503":                {answer: refusal + "\r\n", again: true, status: 503},
		"504":                {answer: "HTTP/1.1 504 No\r\nContent-Length: 0\r\n\r\n", again: true, status: 504},
		"500":                {answer: "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", status: 500},
		"404":                {answer: "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", status: 404},
		"closed":             {answer: "", again: true, class: record.Closed},
		"closed half-way":    {answer: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nhalf", again: true, class: record.Timeout},
		"not HTTP":           {answer: "220 mail ESMTP\r\n\r\n", class: record.Malformed},
		"503 and harmful":    {answer: refusal + "\r\n", status: 503, harmful: true},
		"closed and harmful": {answer: "", class: record.Closed, harmful: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				c := policy(&j, 100*time.Millisecond)
				if test.harmful {
					c.Traffic = &visits{}
				}
				s, got := retrying(t, c, func(int, int, *http.Request) string { return test.answer })
				want := 1
				if test.again {
					want = 3
				}
				if s.Failed != 1 || s.Retried != want-1 || len(j.requests) != want {
					t.Fatalf("%+v: %d attempts, want %d", s, len(j.requests), want)
				}
				for _, r := range chains(t, &j)[0] {
					if r.Status != test.status || r.Error != test.class {
						t.Errorf("%d %s, want %d %s", r.Status, r.Error, test.status, test.class)
					}
				}
				if test.harmful && got[0].Header.Get("Idempotency-Key") != "" {
					t.Error("a request that may not be repeated has a key")
				}
			})
		})
	}
}

// The deadline is that of the request, however many attempts there are.
func TestRetryEndsAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		c := policy(&j, 3*time.Second)
		c.Clients, c.Retry.Attempts = 4, 20
		s, _ := retrying(t, c, func(int, int, *http.Request) string { time.Sleep(time.Hour); return good })
		if s.Failed != 30 || s.NotSent != 0 || s.Lag != 0 {
			t.Fatalf("%+v", s)
		}
		for _, chain := range chains(t, &j) {
			last := chain[len(chain)-1]
			if took := last.Done - chain[0].Scheduled; took > c.Deadline || len(chain) < 3 || len(chain) > 5 {
				t.Errorf("given up after %s and %d attempts", took, len(chain))
			}
		}
	})
}

func TestRetryOfConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		c := policy(&j, time.Second)
		c.Connect = 3 * time.Second
		r := newRun(c)
		r.Dial = func(ctx context.Context, _ int) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
		s, err := r.carryOut(t.Context(), naps{})
		if err != nil || s.Failed != 10 || s.Retried != 20 {
			t.Fatalf("%v %+v", err, s)
		}
		for _, chain := range chains(t, &j) {
			for _, a := range chain {
				limit := min(c.Retry.Timeout, chain[0].Scheduled+c.Deadline-a.Taken)
				if a.Error != record.ConnectTimeout || a.Done-a.Taken != limit {
					t.Errorf("%s after %s, want a connection attempt of %s", a.Error, a.Done-a.Taken, limit)
				}
			}
		}
	})
}

// With Retry-After a client stays away, but not beyond its deadline.
func TestRetryAfterIsHonoured(t *testing.T) {
	for name, test := range map[string]struct {
		header      string
		least, most time.Duration // until the second attempt; 0: there is none
	}{
		"seconds":         {"1", time.Second, 1200 * time.Millisecond},
		"none":            {"0", 200 * time.Millisecond, 600 * time.Millisecond},
		"not understood":  {"soon", 200 * time.Millisecond, 600 * time.Millisecond},
		"negative":        {"-5", 200 * time.Millisecond, 600 * time.Millisecond},
		"after deadline":  {"5", 0, 0},
		"in a long time":  {"99999999999999999999", 200 * time.Millisecond, 600 * time.Millisecond},
		"in a hundred y.": {"3153600000", 0, 0},
		"a date":          {"Sat, 01 Jan 2000 00:00:03 GMT", 2500 * time.Millisecond, 3300 * time.Millisecond},
		"a date before":   {"Fri, 31 Dec 1999 00:00:03 GMT", 200 * time.Millisecond, 600 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // whose clock begins in 2000
				var j journal
				c := policy(&j, 100*time.Millisecond)
				c.Retry.Attempts = 2
				retrying(t, c, func(int, int, *http.Request) string { return refusal + "Retry-After: " + test.header + "\r\n\r\n" })
				chain := chains(t, &j)[0]
				if test.most == 0 {
					if len(chain) != 1 || chain[0].Again {
						t.Errorf("%d attempts", len(chain))
					}
					return
				}
				if len(chain) != 2 {
					t.Fatalf("%d attempts", len(chain))
				}
				if wait := chain[1].Scheduled - chain[0].Done; wait < test.least || wait > test.most {
					t.Errorf("waited %s, want %s to %s", wait, test.least, test.most)
				}
			})
		})
	}
}

// A request that waits for its next attempt is in flight once, and its memory is
// bounded with the others'.
func TestRetryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		c := policy(&j, 3*time.Second)
		c.Schedule.Stages[0].Rate = 100
		r := newRun(c)
		r.most = 40
		r.Dial = func(context.Context, int) (net.Conn, error) { return nil, fmt.Errorf("no route") }
		s, err := r.carryOut(t.Context(), naps{})
		if err != nil || s.NotSent == 0 || s.Scheduled != 300 {
			t.Fatalf("%v %+v", err, s)
		}
		for _, second := range j.seconds {
			if second.InFlight > 41 {
				t.Errorf("%d in flight", second.InFlight)
			}
		}
		for _, chain := range chains(t, &j) {
			if chain[0].Error == record.NotSent && len(chain) > 1 {
				t.Error("what the generator did not send is tried again")
			}
		}
	})
}

// What waits for a connection does so in the order of deadlines, those of later
// attempts included.
func TestRetryWaitsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		c := policy(&j, 4*time.Second)
		c.Connections, c.Retry.Attempts = 1, 6
		s, _ := retrying(t, c, func(_, request int, _ *http.Request) string {
			time.Sleep(350 * time.Millisecond)
			if request%2 == 1 {
				return refusal + "\r\n"
			}
			return good
		})
		if s.Answered == 0 || s.Failed == 0 || s.Retried == 0 {
			t.Errorf("%+v", s)
		}
		for _, chain := range chains(t, &j) {
			for _, a := range chain {
				if took := a.Done - a.Taken; took > c.Retry.Timeout {
					t.Errorf("an attempt took %s", took)
				}
			}
			if took := chain[len(chain)-1].Done - chain[0].Scheduled; took > c.Deadline {
				t.Errorf("a request took %s", took)
			}
		}
	})
}

func TestRetryIsRepeatable(t *testing.T) {
	waits := func(seed uint64) (all []time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			var j journal
			c := policy(&j, time.Second)
			c.Seed = seed
			retrying(t, c, func(int, int, *http.Request) string { return refusal + "\r\n" })
			for _, chain := range chains(t, &j) {
				for n := 1; n < len(chain); n++ {
					all = append(all, chain[n].Scheduled-chain[n-1].Done)
				}
			}
		})
		return all
	}
	a, b, other := waits(3), waits(3), waits(4)
	if !slices.Equal(a, b) {
		t.Errorf("one seed, two runs:\n%v\n%v", a, b)
	}
	if slices.Equal(a, other) {
		t.Error("two seeds, one run")
	}
	slices.Sort(a)
	if len(slices.Compact(a)) < 15 {
		t.Errorf("waits are not spread: %v", a)
	}
}

func TestRetryPolicy(t *testing.T) {
	for name, test := range map[string]struct {
		policy Retry
		told   *record.Retry
		wrong  string
	}{
		"none":              {},
		"one attempt":       {policy: Retry{Attempts: 1}},
		"timeout alone":     {policy: Retry{Timeout: time.Second}, told: &record.Retry{Attempts: 1, Timeout: time.Second}},
		"no backoff":        {policy: Retry{Attempts: 2}, told: &record.Retry{Attempts: 2}},
		"all":               {policy: Retry{3, 1, 2, 4, 0.2}, told: &record.Retry{Attempts: 3, Timeout: 1, BackoffMin: 2, BackoffMax: 4, Budget: 0.2}},
		"negative":          {policy: Retry{Attempts: -1}, wrong: "attempts"},
		"too many":          {policy: Retry{Attempts: mostAttempts + 1}, wrong: "attempts"},
		"negative timeout":  {policy: Retry{Timeout: -1}, wrong: "timeout"},
		"turned round":      {policy: Retry{BackoffMin: 2, BackoffMax: 1}, wrong: "backoff"},
		"grows from zero":   {policy: Retry{BackoffMax: 1}, wrong: "backoff"},
		"more than all":     {policy: Retry{Budget: 1.1}, wrong: "budget"},
		"longer than anyth": {policy: Retry{BackoffMin: 1, BackoffMax: 2 * time.Hour}, wrong: "backoff"},
	} {
		var j journal
		c := at("127.0.0.1:1", &j, 1, time.Second)
		c.Retry = test.policy
		switch err := c.check(); {
		case test.wrong == "" && err != nil, test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)):
			t.Errorf("%s: %v, want %q", name, err, test.wrong)
		}
		if test.wrong != "" {
			continue
		}
		if told := test.policy.Told(); (told == nil) != (test.told == nil) || told != nil && *told != *test.told {
			t.Errorf("%s is told as %+v", name, told)
		}
	}
}

// Over real sockets, with connections that are reset and servers that come back.
func TestRetryOverSockets(t *testing.T) {
	var served atomic.Int64
	address := misbehave(t, func(conn *net.TCPConn, in *bufio.Reader) {
		for hear(in) {
			switch served.Add(1) % 4 {
			case 0:
				reset(conn)
				return
			case 1:
				_, _ = conn.Write([]byte(refusal + "\r\n"))
			case 2:
				_, _ = in.ReadByte() // until it is given up
				return
			default:
				_, _ = conn.Write([]byte(good))
			}
		}
	})
	var j journal
	c := at(address, &j, 200, time.Second)
	c.Traffic = &again{}
	c.Retry = Retry{Attempts: 4, Timeout: 100 * time.Millisecond, BackoffMin: 5 * time.Millisecond, BackoffMax: 50 * time.Millisecond}
	s := mustRun(t, c)
	if s.Scheduled != 200 || s.Answered < 40 || s.Retried < 200 || len(j.requests) != s.Scheduled+s.Retried {
		t.Errorf("%+v, %d told", s, len(j.requests))
	}
	chains(t, &j)
}
