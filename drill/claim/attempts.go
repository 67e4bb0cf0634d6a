package claim

import (
	"fmt"
	"strings"
	"time"

	"github.com/nines-ha/nines/internal/wording"
	"github.com/nines-ha/nines/record"
)

// retries tells whether clients of this drill try again, by what the record
// declares or by what they did.
func (q *inquiry) retries() bool {
	return q.Header.Load.Retry != nil && q.Header.Load.Retry.Attempts > 1 || len(q.tries) > 0
}

// attemptsOf are the attempts of a request, in order.
func (q *inquiry) attemptsOf(r *record.Request) []*record.Request {
	if tries := q.tries[r]; len(tries) > 0 {
		return tries
	}
	return []*record.Request{r}
}

// countAttempts adds what came of first attempts to what came of requests in the
// end.
func (q *inquiry) countAttempts(c *Requests) {
	if !q.retries() {
		return
	}
	f := &c.FirstAttempt
	for _, r := range q.run {
		inside := q.injected && q.window.has(r.Scheduled)
		tries := q.attemptsOf(r)
		if inside {
			c.Attempts += len(tries)
		}
		if !tries[0].Failed() {
			continue
		}
		f.RunFailed++
		saved := !r.Failed()
		if saved {
			f.RunSaved++
		}
		if inside {
			f.Failed++
			if saved {
				f.Saved++
			}
		}
	}
	f.Availability = available(c.Total, f.Failed)
	if c.Total > 0 {
		c.Amplification = float64(c.Attempts) / float64(c.Total)
	}
}

// atFirst is said beside how many requests failed in the end.
func (q *inquiry) atFirst(failed int) string {
	if !q.retries() {
		return ""
	}
	return fmt.Sprintf(" (at the first attempt %s)", none(failed))
}

// blameAttempts is the cause of a request that took several attempts: the one that
// most of its failed attempts share, the earliest of them if several do. What this
// machine or the generator spoilt is it only if nothing else went wrong.
func (q *inquiry) blameAttempts(r *record.Request) blame {
	tries := q.tries[r]
	times := map[string]int{}
	spoilt := func(cause string) bool { return cause == Machine || cause == Generator }
	var chief *record.Request
	for _, one := range tries {
		if one.Failed() {
			times[q.blames[one].cause]++
		}
	}
	for _, one := range tries {
		if !one.Failed() {
			continue
		}
		cause := q.blames[one].cause
		if chief == nil || spoilt(q.blames[chief].cause) && !spoilt(cause) ||
			spoilt(cause) == spoilt(q.blames[chief].cause) && times[cause] > times[q.blames[chief].cause] {
			chief = one
		}
	}
	if chief == nil { // of a record that contradicts itself
		return blame{Unattributed, "", wording.Several(len(tries), "attempt", "attempts") + ", none of which failed"}
	}
	b := q.blames[chief]
	return blame{b.cause, "again " + b.gist, q.tellAttempts(tries, chief, b.story)}
}

// tellAttempts names what came of each attempt in short, and tells of one.
func (q *inquiry) tellAttempts(tries []*record.Request, chief *record.Request, story string) string {
	const most = 6
	var words []string
	nth := 0
	for i, one := range tries {
		if one == chief {
			nth = i
		}
		if i >= most {
			continue
		}
		word := result(one)
		if cause := q.blames[one].cause; cause != "" {
			word += " (" + cause + ")"
		}
		words = append(words, word)
	}
	if more := len(tries) - len(words); more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("%s: %s; the %s: %s", wording.Several(len(tries), "attempt", "attempts"), strings.Join(words, ", "), ordinal(nth), story)
}

func ordinal(i int) string {
	if names := []string{"first", "second", "third", "fourth", "fifth", "sixth"}; i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("%dth", i+1)
}

// savedBy counts the causes of first attempts that failed and cost nothing in the
// end, because a later one was answered well.
func (q *inquiry) savedBy() []Saved {
	t := newTally(q)
	for _, r := range q.saved {
		t.add(r)
	}
	var all []Saved
	for _, a := range t.sorted() {
		all = append(all, Saved{Cause: a.Cause, Text: a.Text, Count: a.Count, Evidence: a.Evidence})
	}
	return all
}

// doubtAttempts says where attempts do not fit together, or not to what clients
// were told to do.
func (q *inquiry) doubtAttempts() {
	most := 1
	if p := q.Header.Load.Retry; p != nil {
		most = max(most, p.Attempts)
	}
	broken, over := 0, 0
	for _, r := range q.requests {
		tries := q.attemptsOf(r)
		if !fit(tries) {
			broken++
		}
		if len(tries) > most {
			over++
		}
	}
	if broken > 0 {
		q.doubtAll("the record contradicts itself: the attempts of %s do not fit together", wording.Several(broken, "request", "requests"))
	}
	if over > 0 {
		q.doubtAll("the record contradicts itself: %s took more attempts than the %d that clients were allowed", wording.Several(over, "request", "requests"), most)
	}
}

// fit tells whether these are all the attempts of one request: each follows the
// one before, which had failed, and the last is the last.
func fit(tries []*record.Request) bool {
	first := tries[0]
	for i, one := range tries {
		last := i == len(tries)-1
		switch {
		case one.Retries != i || (one.Of == "") != (i == 0) || one.Again == last:
			return false
		case one.Client != first.Client || one.Op != first.Op:
			return false
		case !last && !one.Failed():
			return false
		case i > 0 && one.Scheduled < tries[i-1].Done:
			return false
		}
		if w := one.Write; i > 0 && (w == nil) != (first.Write == nil) || w != nil && (w.Entity != first.Write.Entity || w.Version != first.Write.Version || w.Sum != first.Write.Sum) {
			return false
		}
	}
	return true
}

// answeredAfter is when a request got its first answer of any kind, from when it
// was due: a refusal that is tried again is one too. It is false if it got none.
func (q *inquiry) answeredAfter(r *record.Request) (time.Duration, bool) {
	for _, one := range q.attemptsOf(r) {
		if one.Status != 0 {
			return one.Done - r.Scheduled, true
		}
	}
	return r.Latency(), false
}
