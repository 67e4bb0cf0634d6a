package load

import (
	"bufio"
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nines-ha/nines/record"
)

// naps is a pace of a test's own clock.
type naps struct{}

func (naps) sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	return context.Cause(ctx)
}

func (naps) close() {}

// inMemory runs c against a server of HTTP over pipes, in a bubble of synctest.
// answer gets the number of the connection and of the request on it.
func inMemory(t *testing.T, c Config, answer func(connection, request int) string) Summary {
	t.Helper()
	var connections atomic.Int64
	var serving sync.WaitGroup
	c.Started = time.Now()
	c.Dial = func(context.Context, int) (net.Conn, error) {
		near, far := net.Pipe()
		number := int(connections.Add(1))
		serving.Go(func() {
			defer far.Close()
			in := bufio.NewReader(far)
			for i := 1; hear(in); i++ {
				if _, err := far.Write([]byte(answer(number, i))); err != nil {
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
	return s
}

// All requests that are due while the server stands still have waited for the
// rest of that time, not only the one that was on its way.
func TestRunOmitsNothingInAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		c := at("stalls", &j, 100, 4*time.Second)
		c.Clients = 10
		const stands, goes = 1255 * time.Millisecond, 2255 * time.Millisecond
		began := time.Now()
		s := inMemory(t, c, func(int, int) string {
			if now := time.Since(began); now >= stands && now < goes {
				time.Sleep(goes - now)
			}
			return good
		})
		if s.Scheduled != 400 || s.Answered != 400 {
			t.Fatalf("%+v", s)
		}
		for _, r := range j.requests {
			var want time.Duration
			if r.Scheduled >= stands && r.Scheduled < goes {
				want = goes - r.Scheduled
			}
			if got := r.Done - r.Scheduled; got != want {
				t.Errorf("due at %s: answered after %s, want %s", r.Scheduled, got, want)
			}
			if r.Taken != r.Scheduled {
				t.Errorf("due at %s: taken up %s later, although only the server was slow", r.Scheduled, r.Taken-r.Scheduled)
			}
		}
		for i, second := range j.seconds[:4] {
			want := [][3]int{{100, 100, 0}, {100, 26, 74}, {100, 174, 0}, {100, 100, 0}}[i]
			// A request that is due on the second belongs to either.
			if off := second.Answered - want[1]; off < -1 || off > 1 || second.InFlight < want[2]-1 || second.InFlight > want[2]+1 || second.Lag != 0 {
				t.Errorf("second %d: %+v, want scheduled, answered, in flight %v", i, second, want)
			}
		}
	})
}

// With one connection a client, requests wait for it, and that is not the
// generator's lag.
func TestRunTellsWhatWaitedForItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		c := at("is slow", &j, 10, time.Second)
		c.Clients, c.Connections = 1, 1
		s := inMemory(t, c, func(int, int) string { time.Sleep(300 * time.Millisecond); return good })
		if s.Lag != 0 || s.Opened != 2 && s.Opened != 1 {
			t.Errorf("%+v", s)
		}
		for i, r := range j.requests {
			want := time.Duration(i) * 200 * time.Millisecond // each is due 100 ms after the last, and takes 300
			over := want > c.Deadline
			if over {
				want = c.Deadline
			}
			if r.Waited != want || r.Taken != r.Scheduled {
				t.Errorf("request %d waited %s, want %s: %+v", i, r.Waited, want, r)
			}
			switch {
			case over && (r.Error != record.Timeout || r.Sent != 0 || !strings.Contains(r.Detail, "busy") || r.Op == ""):
				t.Errorf("request %d waited for too long: %+v", i, r)
			case !over && r.Done-r.Scheduled < c.Deadline && r.Status != 200:
				t.Errorf("request %d is answered late, but in time: %+v", i, r)
			}
		}
	})
}

func TestRunOpensAsManyConnectionsAsAreNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		c := at("never answers", &j, 50, 5*time.Second)
		c.Clients, c.Deadline = 2, time.Second
		s := inMemory(t, c, func(int, int) string { time.Sleep(time.Minute); return good })
		if s.Failed != 250 || s.NotSent != 0 || s.Lag != 0 {
			t.Errorf("%+v", s)
		}
		for _, r := range j.requests {
			if r.Error != record.Timeout || r.Waited != 0 || r.Done-r.Scheduled != c.Deadline {
				t.Errorf("due at %s: %s %q after %s, want a timeout after a deadline", r.Scheduled, r.Error, r.Detail, r.Done-r.Scheduled)
			}
		}
	})
}

func TestRunLeavesIdleConnectionsAfterAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		c := at("answers", &j, 0, 0)
		c.Clients = 1
		c.Schedule.Stages = []Stage{{1, 2 * time.Second}, {0, 50 * time.Second}, {1, time.Second}, {0, 70 * time.Second}, {1, time.Second}}
		s := inMemory(t, c, func(int, int) string { return good })
		if s.Answered != 4 || s.Opened != 2 || s.Stale != 1 {
			t.Errorf("%+v, want a second connection after 70 s", s)
		}
		if len(j.seconds) < 124 {
			t.Errorf("%d seconds are told of 124", len(j.seconds))
		}
	})
}

// When nobody listens the generator is late, and tells so; it loses nothing.
func TestRunWaitsForTheListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		c := at("answers", &j, 200, 10*time.Second)
		c.Deadline = time.Minute
		c.Tell = func(r *record.Request) {
			if j.count() == 100 {
				time.Sleep(5 * time.Second)
			}
			j.tell(r)
		}
		s := inMemory(t, c, func(int, int) string { return good })
		if s.Scheduled != 2000 || s.Answered != 2000 || len(j.requests) != 2000 {
			t.Fatalf("%+v, %d told", s, len(j.requests))
		}
		// 256 may be untold, which is 1.3 s.
		if s.Lag < 3*time.Second || s.Lag > 5*time.Second {
			t.Errorf("the lag is %s, want nearly 4 s", s.Lag)
		}
		late := 0
		for _, r := range j.requests {
			if r.Taken-r.Scheduled > 100*time.Millisecond {
				late++
			}
		}
		if late < 600 || late > 900 {
			t.Errorf("%d requests were taken up late, want those of nearly 4 s", late)
		}
		var worst time.Duration
		for i, second := range j.seconds {
			if second.At != time.Duration(i)*time.Second {
				t.Errorf("second %d is told as %s", i, second.At)
			}
			worst = max(worst, second.Lag)
		}
		if worst != s.Lag {
			t.Errorf("the seconds tell a lag of %s, the summary of %s", worst, s.Lag)
		}
	})
}

// What is too late for its deadline already is not sent, and that is nobody
// else's fault.
func TestRunTellsWhatItCouldNotSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		c := at("answers", &j, 200, 10*time.Second)
		c.Deadline = time.Second
		c.Tell = func(r *record.Request) {
			if j.count() == 100 {
				time.Sleep(5 * time.Second)
			}
			j.tell(r)
		}
		s := inMemory(t, c, func(int, int) string { return good })
		if s.Scheduled != 2000 || s.NotSent < 400 || s.NotSent > 700 || s.Failed > 0 {
			t.Errorf("%+v", s)
		}
		for _, r := range j.requests {
			if r.Error == record.NotSent && (r.Sent != 0 || r.Op == "" || !strings.Contains(r.Detail, "behind")) {
				t.Errorf("%+v", r)
			}
		}
	})
}

func TestRunBoundsWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		c := at("never answers", &j, 100, time.Second)
		c.Deadline = time.Second
		r := newRun(c)
		if r.most < 100 || r.most > 300 {
			t.Errorf("%d may be in flight at 100/s with a deadline of 1 s", r.most)
		}
		r.most = 40
		r.Dial = func(ctx context.Context, _ int) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
		s, err := r.carryOut(t.Context(), naps{})
		if err != nil || s.NotSent != 60 || s.Failed != 40 {
			t.Errorf("%v %+v", err, s)
		}
		for _, r := range j.requests {
			if r.Error == record.NotSent && (r.Op == "" || !strings.Contains(r.Detail, "in flight")) {
				t.Errorf("%+v", r)
			}
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	address := misbehave(t, func(_ *net.TCPConn, in *bufio.Reader) {
		hear(in)
		_, _ = in.ReadByte() // until the other end gives up
	})
	for name, rate := range map[string]float64{"asleep": 0.001, "at work": 300} {
		t.Run(name, func(t *testing.T) {
			var j journal
			c := at(address, &j, rate, 0)
			c.Deadline = 300 * time.Millisecond
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan Summary)
			go func() {
				s, err := Run(ctx, c)
				if err != nil {
					t.Error(err)
				}
				ended <- s
			}()
			await(t, func() bool { return j.count() > int(min(rate, 5)) })
			cancel()
			select {
			case s := <-ended:
				if s.Scheduled == 0 || s.Failed != s.Scheduled || len(j.requests) != s.Scheduled {
					t.Errorf("%+v, %d told", s, len(j.requests))
				}
			case <-time.After(10 * time.Second):
				t.Fatal("it goes on after its context ended")
			}
		})
	}
}

func TestRunRefuses(t *testing.T) {
	var j journal
	for name, change := range map[string]func(*Config){
		"clients":     func(c *Config) { c.Clients = 0 },
		"deadline":    func(c *Config) { c.Deadline = 0 },
		"connect":     func(c *Config) { c.Connect = 0 },
		"Traffic":     func(c *Config) { c.Traffic = nil },
		"relative":    func(c *Config) { c.Started = time.Time{} },
		"connections": func(c *Config) { c.Connections = -1 },
		"stage":       func(c *Config) { c.Schedule.Stages = nil },
	} {
		c := at("127.0.0.1:1", &j, 1, time.Second)
		change(&c)
		if _, err := Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTimer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	timer, err := newTimer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer timer.close()
	for range 50 {
		for _, d := range []time.Duration{0, 1, 50 * time.Microsecond, 3 * time.Millisecond} {
			began := time.Now()
			if err := timer.sleep(ctx, d); err != nil {
				t.Fatal(err)
			}
			if slept := time.Since(began); slept < d {
				t.Fatalf("slept %s of %s", slept, d)
			}
		}
	}
	time.AfterFunc(10*time.Millisecond, cancel)
	for range 2 {
		if err := timer.sleep(ctx, time.Hour); err != context.Canceled {
			t.Fatalf("%v, want that the context ended", err)
		}
	}
}
