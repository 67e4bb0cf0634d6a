package claim

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/nines-ha/nines/internal/wording"
	"github.com/nines-ha/nines/record"
)

// stretch is so much of an overload that what is answered in it is no chance.
const stretch = 5 * time.Second

// After an overload all is well again when no more than this of what is due from
// then on fails or is slow: as little as anybody is promised.
const (
	restFailed = 0.001
	restSlow   = 0.01
)

// overloaded is the part of the window in which more is asked than can be served,
// from the first step above it to the last.
func (q *inquiry) overloaded() (peak span, ok bool) {
	steps, can := q.Header.Load.Steps, q.Header.Promise.Serves
	if !q.injected || !(can > 0) || len(steps) == 0 {
		return span{}, false
	}
	each := q.window.length() / time.Duration(len(steps))
	for i, rate := range steps {
		if rate <= can {
			continue
		}
		if !ok {
			peak.from, ok = q.window.from+time.Duration(i)*each, true
		}
		peak.to = q.window.from + time.Duration(i+1)*each
	}
	return peak, ok
}

// overload judges what is promised of an overload.
func (q *inquiry) overload(p record.Promise, add adder) {
	if p.Goodput <= 0 && p.Refusal <= 0 && p.Attempts <= 0 && p.Serves <= 0 {
		return
	}
	peak, ok := q.overloaded()
	if !ok {
		add("goodput", fmt.Sprintf("≥ %s of what can be served", percent(p.Goodput)), "nothing says that more was asked", false).Outcome = Inconclusive
		return
	}
	from := sort.Search(len(q.requests), func(i int) bool { return q.requests[i].Scheduled >= peak.from })
	to := sort.Search(len(q.requests), func(i int) bool { return q.requests[i].Scheduled >= peak.to })
	asked := q.requests[from:to]
	if p.Goodput > 0 {
		q.goodput(p, peak, add)
	}
	if p.Refusal > 0 {
		q.refusal(p.Refusal, asked, add)
	}
	if p.Attempts > 0 {
		q.attemptsFor(p.Attempts, asked, add)
	}
	if p.Recovery > 0 {
		q.recovery(p.Recovery, q.requests[to:], peak.to, add)
	}
}

// goodput is what is answered well in each stretch of the overload, whenever it was
// asked for, of what can be served.
func (q *inquiry) goodput(p record.Promise, peak span, add adder) {
	n := max(int(peak.length()/stretch), 1)
	each := peak.length() / time.Duration(n)
	good := make([]int, n)
	all := 0
	for _, r := range q.requests {
		if !r.Failed() && r.Done >= peak.from && r.Done < peak.to {
			good[min(int((r.Done-peak.from)/each), n-1)]++
			all++
		}
	}
	least := slices.Min(good)
	share := float64(least) / (p.Serves * each.Seconds())
	got := fmt.Sprintf("%s: %s a second in the worst %s, %s in all %s", percent(share), wording.Decimal(float64(least)/each.Seconds(), 1), lasting(each), wording.Decimal(float64(all)/peak.length().Seconds(), 1), lasting(peak.length()))
	add("goodput", fmt.Sprintf("≥ %s of %s a second", percent(p.Goodput), wording.Decimal(p.Serves, 1)), got, share >= p.Goodput)
}

// attemptsFor counts what clients sent, and how often the gateway tried again by
// itself, as far as it tells: of all that failed or took long.
func (q *inquiry) attemptsFor(most float64, asked []*record.Request, add adder) {
	n, again := 0, 0
	for _, r := range asked {
		for _, one := range q.attemptsOf(r) {
			n++
			if h := gatewayHop(q.trail[one.ID]); h != nil {
				again += max(h.Attempts-1, 0)
			}
		}
	}
	a := float64(n+again) / float64(max(len(asked), 1))
	got := fmt.Sprintf("%s (%s for %s)", wording.Decimal(a, 3), wording.Count(n), wording.Count(len(asked)))
	if again > 0 {
		got = fmt.Sprintf("%s (%s for %s, and %s of the gateway)", wording.Decimal(a, 3), wording.Count(n), wording.Count(len(asked)), wording.Count(again))
	}
	add("attempts", fmt.Sprintf("≤ %s for a request", wording.Decimal(most, 3)), got, a <= most)
}

// refusal is of all attempts of the overload that were not answered well, whatever
// became of them: who is not refused is kept waiting.
func (q *inquiry) refusal(within time.Duration, asked []*record.Request, add adder) {
	want := fmt.Sprintf("99 %% within %s", exactly(within))
	took := func(r *record.Request) time.Duration {
		begun := r.Sent
		if begun == 0 {
			begun = r.Taken
		}
		return r.Done - begun
	}
	var all, rest []time.Duration
	for _, r := range asked {
		for _, one := range q.attemptsOf(r) {
			if !one.Failed() || one.Error == record.NotSent {
				continue
			}
			all = append(all, took(one))
			if took(one) <= within || !q.disturbed(one) && q.busySecond(span{one.Scheduled, one.Done}) == nil {
				rest = append(rest, took(one))
			}
		}
	}
	if len(all) == 0 {
		add("refusal", want, "none was refused", true)
		return
	}
	slices.Sort(all)
	slices.Sort(rest)
	got := rank(all, 990)
	c := add("refusal", want, fmt.Sprintf("%s of %s, the slowest %s", lasting(got), wording.Several(len(all), "attempt", "attempts"), lasting(all[len(all)-1])), got <= within)
	q.spare(c, len(rest) > 0 && rank(rest, 990) <= within)
}

// recovery is how long after the overload what is due is answered as promised
// again, to the end of the window.
func (q *inquiry) recovery(within time.Duration, after []*record.Request, from time.Duration, add adder) {
	want := exactly(within) + " after the peak at most"
	after = after[:sort.Search(len(after), func(i int) bool { return after[i].Scheduled >= q.window.to })]
	if len(after) == 0 {
		add("recovery", want, "nothing was asked after the peak", false).Outcome = Inconclusive
		return
	}
	at, ok := q.wellFrom(after, from, func(*record.Request) bool { return false })
	got := lasting(at - from)
	if !ok {
		got = "not within " + lasting(q.window.to-from)
	}
	c := add("recovery", want, got, ok && at-from <= within)
	at, ok = q.wellFrom(after, from, q.disturbed)
	q.spare(c, ok && at-from <= within)
}

// wellFrom is the first instant from which on what was due was answered well and
// in time, but for as little as is promised, not counting what spared says.
func (q *inquiry) wellFrom(requests []*record.Request, from time.Duration, spared func(*record.Request) bool) (at time.Duration, ok bool) {
	at, ok = from, len(requests) > 0 // if all is spared
	n, failed, slow := 0, 0, 0
	for i, r := range slices.Backward(requests) {
		switch bad := r.Failed() || q.slow > 0 && r.Latency() > q.slow; {
		case !bad:
		case spared(r):
			continue
		case r.Failed():
			failed++
		default:
			slow++
		}
		n++
		if well := float64(failed) <= restFailed*float64(n) && float64(slow) <= restSlow*float64(n); well || n == 1 {
			at, ok = r.Scheduled, well
		}
		if i == 0 && at == r.Scheduled {
			at = from
		}
	}
	return at, ok
}

// mostMeant is said beside how many requests failed.
func (q *inquiry) mostMeant() string {
	peak, ok := q.overloaded()
	if !ok {
		return ""
	}
	n := 0
	for _, r := range q.judged {
		if peak.has(r.Scheduled) && r.Failed() {
			n++
		}
	}
	return fmt.Sprintf(", %s of them in the %s in which more was asked than can be served", wording.Count(n), lasting(peak.length()))
}

// meant says of a refusal in an overload that it is as it should be.
func (q *inquiry) meant(r *record.Request) string {
	if peak, ok := q.overloaded(); ok && peak.has(r.Scheduled) {
		return "; more was asked than can be served, so that is as meant"
	}
	return ""
}

func percent(share float64) string { return wording.Decimal(share*100, 1) + " %" }
