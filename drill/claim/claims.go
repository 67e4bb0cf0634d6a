package claim

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/nines-ha/nines/internal/wording"
	"github.com/nines-ha/nines/record"
)

// claims compares each promise with what was.
func (q *inquiry) claims(v *Verdict) []Claim {
	p := q.Header.Promise
	claims := []Claim{}
	add := func(name, want, got string, held bool) *Claim {
		c := Claim{Name: name, Want: want, Got: got, Outcome: Refuted}
		if held {
			c.Outcome = Held
		}
		if !q.injected || held && !q.covered {
			c.Outcome = Inconclusive
		}
		claims = append(claims, c)
		return &claims[len(claims)-1]
	}
	if p.Availability > 0 && p.Availability <= 1 {
		r := v.Requests
		got := fmt.Sprintf("%s (%s of %s failed)", wording.Share(r.Availability), none(r.Failed), wording.Count(r.Total))
		if q.retries() {
			got = fmt.Sprintf("%s final, %s at the first attempt (%s of %s failed, %s saved by a retry)", wording.Share(r.Availability), wording.Share(r.FirstAttempt.Availability),
				none(r.Failed), wording.Count(r.Total), wording.Count(r.FirstAttempt.Saved))
		}
		c := add("availability", "≥ "+wording.Decimal(p.Availability*100, 6)+" %", got, available(r.Total, r.Failed) >= p.Availability)
		total, bad := q.without(q.judged)
		q.spare(c, available(total, bad) >= p.Availability)
		if r.Total == 0 {
			c.Got, c.Outcome = nothingDue, Inconclusive
		}
	}
	if p.Failed != nil {
		got := fmt.Sprintf("%s of %s%s in the whole run", wording.Count(v.Requests.RunFailed), wording.Count(v.Requests.Run), q.atFirst(v.Requests.FirstAttempt.RunFailed))
		c := add("failed", "≤ "+wording.Count(*p.Failed), got, v.Requests.RunFailed <= *p.Failed)
		_, bad := q.without(q.run)
		q.spare(c, bad <= *p.Failed)
	}
	good := goodLatencies(q.judged)
	for _, one := range []struct {
		name     string
		want     time.Duration
		perMille int
	}{{"p50", p.P50, 500}, {"p95", p.P95, 950}, {"p99", p.P99, 990}} {
		if one.want <= 0 {
			continue
		}
		if len(good) == 0 {
			c := add(one.name, "≤ "+exactly(one.want), "nothing was answered well", false)
			if len(q.judged) == 0 {
				c.Got, c.Outcome = nothingDue, Inconclusive
			}
			continue
		}
		got := rank(good, one.perMille)
		c := add(one.name, "≤ "+exactly(one.want), lasting(got), got <= one.want)
		rest := q.undisturbed(one.want)
		q.spare(c, len(rest) > 0 && rank(rest, one.perMille) <= one.want)
	}
	q.overload(p, add)
	if p.Recovery > 0 && p.Serves == 0 {
		switch t := v.Fault.Recover; {
		case t < 0:
			add("recovery", "≤ "+exactly(p.Recovery), "not within "+lasting(q.window.length()), false)
		case t == 0:
			add("recovery", "≤ "+exactly(p.Recovery), "it cost no request", true)
		default:
			add("recovery", "≤ "+exactly(p.Recovery), lasting(t), t <= p.Recovery)
		}
	}
	if p.Answer > 0 {
		n, worst := q.unanswered(p.Answer)
		got := fmt.Sprintf("%s of %s not; the longest took %s", none(n), wording.Count(len(q.judged)), lasting(worst))
		add("answer", "every request within "+exactly(p.Answer), got, n == 0)
	}
	if p.Capacity > 0 {
		q.capacity(p.Capacity, add)
	}
	if p.Restored {
		q.restored(v.Fault, add)
	}
	if p.Ejected > 0 {
		q.ejected(p.Ejected, add)
	}
	if p.Meshed {
		q.meshed(add)
	}
	if p.Local > 0 && p.Local <= 1 {
		q.local(p.Local, add)
	}
	if p.Rotated > 0 {
		q.rotated(p.Rotated, add)
	}
	if p.Refused > 0 {
		q.refused(p.Refused, add)
	}
	if p.Shared != nil {
		q.shared(p.Shared, add)
	}
	if p.Traced > 0 {
		q.traced(p.Traced, add)
	}
	if p.Writes {
		w := v.Writes
		got := fmt.Sprintf("%s lost, %s doubled, %s changed of %s", none(w.Lost), none(w.Doubled), none(w.Changed), wording.Count(w.Acknowledged))
		c := add("writes", "none lost or changed", got, w.Lost+w.Doubled+w.Changed == 0)
		switch {
		case !w.Checked:
			c.Got, c.Outcome = "what is stored was not read back", Inconclusive
			q.doubt("what is stored was not read back, so nothing is known of the writes")
		case c.Outcome == Held && w.Strange > 0:
			c.Outcome = Inconclusive
			q.doubt("the store holds %s that the record does not know of", wording.Several(w.Strange, "write", "writes"))
		case c.Outcome == Held && w.Acknowledged == 0:
			c.Got, c.Outcome = "no write was acknowledged", Inconclusive
		}
	}
	if p.Fresh {
		c := add("fresh", "no stale read", wording.Several(v.StaleReads, "stale read", "stale reads"), v.StaleReads == 0)
		if c.Outcome == Held && !slices.ContainsFunc(q.attempts, func(r *record.Request) bool { return r.Read != nil && r.Sent > 0 }) {
			c.Got, c.Outcome = "nothing was read", Inconclusive
		}
	}
	return claims
}

// nothingDue is of a window without requests, which tells nothing of any.
const nothingDue = "no request was due"

func available(total, failed int) float64 {
	if total == 0 {
		return 0
	}
	return float64(total-failed) / float64(total)
}

// disturbed tells whether a request went wrong by what measured it.
func (q *inquiry) disturbed(r *record.Request) bool {
	switch q.blames[r].cause {
	case Machine, Generator:
		return true
	case "":
		return q.busySecond(span{r.Scheduled, r.Done}) != nil || lag(r) > r.Latency()/2
	}
	return false
}

// without counts requests and failures that the measuring has no part in.
func (q *inquiry) without(requests []*record.Request) (total, bad int) {
	for _, r := range requests {
		wrong := r.Failed()
		if wrong && q.disturbed(r) {
			continue
		}
		total++
		if wrong {
			bad++
		}
	}
	return total, bad
}

// undisturbed are the latencies of good answers, without those that were over a
// limit while the machine or the generator was too busy.
func (q *inquiry) undisturbed(limit time.Duration) []time.Duration {
	var rest []*record.Request
	for _, r := range q.judged {
		if r.Latency() <= limit || !q.disturbed(r) {
			rest = append(rest, r)
		}
	}
	return goodLatencies(rest)
}

// spare turns a refuted claim that would hold without what the measuring itself
// has spoilt into an inconclusive one.
func (q *inquiry) spare(c *Claim, holds bool) {
	if c.Outcome == Refuted && holds {
		c.Outcome = Inconclusive
		q.doubt("%s was %s, but would hold without requests that this machine or the generator was too busy for", c.Name, c.Got)
	}
}

// unanswered counts the requests of the window that got no answer of any kind
// within a limit. What the generator did not send is not among them.
func (q *inquiry) unanswered(limit time.Duration) (n int, worst time.Duration) {
	for _, r := range q.judged {
		if r.Error == record.NotSent {
			continue
		}
		took, answered := q.answeredAfter(r)
		worst = max(worst, took)
		if !answered || took > limit {
			n++
		}
	}
	return n, worst
}

type adder func(name, want, got string, held bool) *Claim

func (q *inquiry) capacity(least int, add adder) {
	want := fmt.Sprintf("≥ %s", wording.Several(least, "ready endpoint", "ready endpoints"))
	if len(q.history.ready) == 0 || !q.injected {
		add("capacity", want, "no endpoint was seen", false).Outcome = Inconclusive
		return
	}
	n, when := fewest(q.history.ready, span{q.window.from, q.window.to - 1})
	when.from = max(when.from, q.window.from)
	got := fmt.Sprintf("never fewer than %d", n)
	if n < least {
		got = fmt.Sprintf("%d, from %s for %s", n, since(q, when.from), lasting(when.length()))
	}
	add("capacity", want, got, n >= least)
}

func (q *inquiry) restored(t Times, add adder) {
	want := fmt.Sprintf("%s in %s", wording.Several(q.Header.Service.Replicas, "replica", "replicas"), lasting(q.window.length()))
	switch {
	case len(q.history.ready) == 0 || q.Header.Service.Replicas <= 0:
		add("restored", want, "no endpoint was seen", false).Outcome = Inconclusive
	case t.Restored < 0:
		add("restored", want, fmt.Sprintf("never; %d at the end", numberAt(q.history.ready, forever)), false)
	case t.Restored == 0:
		add("restored", want, "none was ever missing", true)
	default:
		add("restored", want, "after "+lasting(t.Restored), t.Restored <= q.window.length())
	}
}

// month is what an error budget is counted by.
const (
	month         = 30 * 24 * time.Hour
	usualPromise  = 0.999
	wholeOfBudget = 1
)

func (q *inquiry) budget(t Times) Budget {
	promise := q.Header.Promise.Availability
	if !(promise > 0 && promise <= 1) {
		promise = usualPromise
	}
	b := Budget{Month: time.Duration(math.Round(float64(month) * (1 - promise))), Spent: t.Outage}
	switch {
	case b.Month > 0:
		b.Share = float64(b.Spent) / float64(b.Month)
	case b.Spent > 0:
		b.Share = wholeOfBudget
	}
	return b
}
