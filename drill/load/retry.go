package load

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/nines-ha/nines/record"
)

// Retry is a client's policy. An attempt is tried again if it got no connection
// or no whole answer, or was answered with 429, 502, 503 or 504, and if its Request
// is Idempotent. Between two attempts a client waits for a random time, from
// BackoffMin to three times the wait before and at most BackoffMax; after an
// answer with Retry-After for that long at least, and not at all if the deadline
// is before. A connection that failed or was given up is never used again.
type Retry struct {
	Attempts               int           // in all, at most; 0 or 1: nothing is tried again
	Timeout                time.Duration // of one attempt, from when it is made; 0: what is left of the deadline
	BackoffMin, BackoffMax time.Duration
	// Budget is the share of a retry that each request which is answered well pays
	// for; beside that a client has ten of them. 0: retries cost nothing.
	Budget float64
}

// Told is the policy as a record has it; nil: there is none.
func (p Retry) Told() *record.Retry {
	if p.Attempts < 2 && p.Timeout == 0 {
		return nil
	}
	return &record.Retry{Attempts: max(p.Attempts, 1), Timeout: p.Timeout, BackoffMin: p.BackoffMin, BackoffMax: p.BackoffMax, Budget: p.Budget}
}

const (
	mostAttempts = 20
	mostBackoff  = time.Hour
	mostAfter    = time.Hour // of a Retry-After: it is beyond every deadline
)

func (p *Retry) check() error {
	switch {
	case p.Attempts < 0 || p.Attempts > mostAttempts:
		return fmt.Errorf("%d attempts of a request: 1 to %d can be", p.Attempts, mostAttempts)
	case p.Timeout < 0:
		return fmt.Errorf("a timeout of an attempt of %s: set 0 for none", p.Timeout)
	case p.BackoffMin < 0 || p.BackoffMax < p.BackoffMin || p.BackoffMax > mostBackoff || p.BackoffMin == 0 && p.BackoffMax > 0:
		return fmt.Errorf("backoff %s to %s: the longest wait before another attempt is at most %s and not below the shortest, and that is above 0 unless both are 0", p.BackoffMin, p.BackoffMax, mostBackoff)
	case !(p.Budget >= 0 && p.Budget <= 1):
		return fmt.Errorf("a retry budget of %g of what is answered well: 0 (none) to 1 can be", p.Budget)
	}
	return nil
}

// earlier is what an attempt knows of those before it.
type earlier struct {
	id   string        // of the first
	due  time.Duration // the first was
	wait time.Duration // before this attempt
}

// first is the ID of the first attempt.
func (x *exchange) first() string {
	if x.earlier != nil {
		return x.earlier.id
	}
	return x.told.ID
}

// until is when an attempt that was taken up is given up; due is when its request
// was.
func (r *run) until(x *exchange, due time.Duration) time.Time {
	at := due + r.Deadline
	if r.Retry.Timeout > 0 {
		at = min(at, x.told.Taken+r.Retry.Timeout)
	}
	return r.origin.Add(at - r.offset)
}

// tryAgain tells of an attempt that failed and has its request sent once more, if
// the policy allows it. The request stays in flight meanwhile.
func (r *run) tryAgain(x *exchange) bool {
	if !x.asked.Idempotent || x.told.Retries+1 >= r.Retry.Attempts || !canPass(&x.told) {
		return false
	}
	before := earlier{id: x.told.ID, due: x.told.Scheduled, wait: r.Retry.BackoffMin}
	if x.earlier != nil {
		before = *x.earlier
	}
	before.wait = r.Retry.wait(r.Seed, x, before.wait)
	due := r.now() + before.wait
	if due >= before.due+r.Deadline {
		return false
	}
	client := r.clients[x.told.Client]
	if !client.budget.spend() {
		return false
	}
	next := &exchange{asked: x.asked, earlier: &before}
	next.told = record.Request{
		ID: before.id + "." + strconv.Itoa(x.told.Retries+1), Of: before.id, Retries: x.told.Retries + 1,
		Client: x.told.Client, Op: x.told.Op, To: x.told.To, Scheduled: due, Sampled: x.told.Sampled,
	}
	if sent := x.asked.Write; sent != nil {
		write := *sent // what was told belongs to who heard it
		write.Acknowledged = false
		next.told.Write = &write
	}
	x.told.Again = true
	r.attempted(&x.told)
	time.AfterFunc(before.wait, func() {
		next.told.Taken = r.now()
		next.deadline = r.until(next, before.due)
		r.retried.Add(1)
		r.approach(client, next)
	})
	return true
}

// canPass tells whether what an attempt failed by may be over at the next.
func canPass(told *record.Request) bool {
	switch told.Error {
	case record.ConnectTimeout, record.ConnectRefused, record.ConnectFailed, record.Reset, record.Closed, record.Timeout:
		return true
	case "":
		switch told.Status {
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
	}
	return false
}

// wait is how long to leave the service alone before the attempt after x: the
// same in each run with this seed. Its spread keeps those that failed together
// from coming back together, after a Retry-After too.
func (p *Retry) wait(seed uint64, x *exchange, before time.Duration) time.Duration {
	digest := fnv.New64a()
	_, _ = digest.Write([]byte(x.told.ID))
	random := rand.New(rand.NewPCG(seed, digest.Sum64()))
	upTo := func(d time.Duration) time.Duration { return time.Duration(random.Int64N(int64(d) + 1)) }
	wait := p.BackoffMin + upTo(min(p.BackoffMax, 3*before)-p.BackoffMin)
	if x.after > 0 {
		wait = max(wait, x.after+upTo(p.BackoffMin))
	}
	return wait
}

// retryAfter reads the header of that name: seconds, or a date.
func retryAfter(text []byte, now func() time.Time) time.Duration {
	if len(text) == 0 {
		return 0
	}
	if seconds, err := strconv.ParseUint(string(text), 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, mostAfter)
	}
	at, err := http.ParseTime(string(text))
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now()), 0), mostAfter)
}
