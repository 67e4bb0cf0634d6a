package claim

import (
	"fmt"
	"math"
	"time"

	"github.com/nines-ha/nines/internal/wording"
	"github.com/nines-ha/nines/record"
)

// What a generator may be behind its schedule.
const (
	mostLag       = time.Second // of one request
	lateAfter     = 50 * time.Millisecond
	mostLate      = 0.01 // share of requests that may be taken up later than that
	veryLateAfter = 100 * time.Millisecond
	mostVeryLate  = 0.001
)

const (
	mostBusy         = 0.25 // share of the window's seconds in which the machine may be busy
	mostUnattributed = 0.01 // share of failed and slow requests
	leastSent        = 0.95 // share of the requests that the rate asks for
)

// doubtRecord says what makes the record as a whole no evidence.
func (q *inquiry) doubtRecord() {
	switch {
	case q.Cut:
		q.doubtAll("the record is cut off in the middle of a line")
	case q.End == nil:
		q.doubtAll("the record has no end: the drill was cut off")
	}
	backwards := 0
	for _, r := range q.attempts {
		if r.Done < r.Scheduled {
			backwards++
		}
	}
	if backwards > 0 {
		q.doubtAll("the record is damaged: %s over before due", wording.Several(backwards, "request was", "requests were"))
	}
	q.doubtCounts()
	q.doubtAttempts()
	if !q.injected {
		return
	}
	if !q.covered {
		q.doubtAll("the load ended %s after the fault, and the window is %s%s", lasting(max(0, q.load.to-q.window.from)), lasting(q.window.length()), q.interruption())
	} else if q.interruption() != "" {
		q.doubt("the drill did not run to its end%s", q.interruption())
	}
	if done := q.phase(record.Injected); done == nil || done.At >= q.window.to {
		q.doubt("the fault was not complete within the window of %s", lasting(q.window.length()))
	}
	if q.End != nil && q.interruption() == "" && len(q.End.Unsteady) > 0 {
		q.doubt("not all was in order afterwards: %s", list(q.End.Unsteady, 3))
	}
}

// doubtCounts holds what the generator counted as it went against the requests
// that are told one by one: a line that is missing, or there twice, shows.
func (q *inquiry) doubtCounts() {
	ids := make(map[string]bool, len(q.attempts))
	twice, failed := 0, 0
	for _, r := range q.attempts {
		if ids[r.ID] {
			twice++
		}
		ids[r.ID] = true
	}
	for _, r := range q.requests {
		if r.Failed() {
			failed++
		}
	}
	if twice > 0 {
		q.doubtAll("the record contradicts itself: %s told twice", wording.Several(twice, "request is", "requests are"))
	}
	if len(q.seconds) == 0 || q.Cut || q.End == nil {
		return
	}
	counted, countedFailed, countedRetries := 0, 0, 0
	for _, s := range q.seconds {
		counted += s.Scheduled
		countedFailed += s.Failed
		countedRetries += s.Retried
	}
	if retries := len(q.attempts) - len(q.requests); countedRetries != retries {
		q.doubtAll("the record contradicts itself: it tells of %s besides the first ones, and the generator counted %s", wording.Several(retries, "attempt", "attempts"), wording.Count(countedRetries))
	}
	if counted != len(q.requests) || countedFailed != failed {
		q.doubtAll("the record contradicts itself: it tells of %s, %s of which failed, and the generator counted %s and %s",
			wording.Several(len(q.requests), "request", "requests"), wording.Count(failed), wording.Count(counted), wording.Count(countedFailed))
	}
}

// doubtMeasure says what was wrong with how it was measured.
func (q *inquiry) doubtMeasure() {
	q.doubtGenerator()
	if q.injected && len(q.judged) == 0 {
		q.doubtAll("no request was due in the window")
	}
	if rate := q.Header.Load.In(); q.covered && rate > 0 && !math.IsInf(rate, 0) {
		// Random arrivals differ by their square root.
		asked := rate * q.window.length().Seconds()
		if got := float64(len(q.judged)); got < asked*leastSent-4*math.Sqrt(asked) {
			q.doubtLoad("only %s of the %s requests that the rate asks for were due in the window", wording.Count(len(q.judged)), wording.Count(int(min(asked, 1e12))))
		}
	}
	if busy, of := q.busySeconds(); of > 0 && float64(busy) > mostBusy*float64(of) {
		q.busy = append(q.busy, fmt.Sprintf("this machine was too busy to measure anything in %d of %s of the window", busy, wording.Several(of, "second", "seconds")))
	}
	var unattributed, unattributedFailed, failed int
	for _, s := range q.suspects {
		open := q.blames[s.Request].cause == Unattributed
		if open {
			unattributed++
		}
		if s.failed {
			failed++
			if open {
				unattributedFailed++
			}
		}
	}
	// By themselves too: many slow requests that are explained must not hide
	// failures that are not.
	switch {
	case float64(unattributed) > mostUnattributed*float64(len(q.suspects)):
		q.open = append(q.open, fmt.Sprintf("%s of %s failed or slow requests cannot be explained", wording.Count(unattributed), wording.Count(len(q.suspects))))
	case float64(unattributedFailed) > mostUnattributed*float64(failed):
		q.open = append(q.open, fmt.Sprintf("%s of %s failed requests cannot be explained", wording.Count(unattributedFailed), wording.Count(failed)))
	}
}

func (q *inquiry) doubtLoad(format string, args ...any) {
	q.behind = append(q.behind, fmt.Sprintf(format, args...))
}

func (q *inquiry) doubtGenerator() {
	var worst time.Duration
	late, veryLate, unsent, of := 0, 0, 0, 0
	for _, r := range q.run {
		for _, one := range q.attemptsOf(r) {
			of++
			worst = max(worst, lag(one))
			if lag(one) > lateAfter {
				late++
			}
			if lag(one) > veryLateAfter {
				veryLate++
			}
		}
		if r.Error == record.NotSent {
			unsent++
		}
	}
	for _, s := range q.seconds {
		if s.At >= q.warm {
			worst = max(worst, s.Lag)
		}
	}
	if unsent > 0 {
		q.doubtLoad("the generator did not send %s", wording.Several(unsent, "request", "requests"))
	}
	if worst > mostLag {
		q.doubtLoad("the generator was up to %s behind its schedule", lasting(worst))
	}
	if float64(late) > mostLate*float64(of) {
		q.doubtLoad("the generator took up %s of %s requests more than %s late", wording.Count(late), wording.Count(of), lasting(lateAfter))
	}
	if float64(veryLate) > mostVeryLate*float64(of) {
		q.doubtLoad("the generator took up %s of %s requests more than %s late", wording.Count(veryLate), wording.Count(of), lasting(veryLateAfter))
	}
}

func (q *inquiry) busySeconds() (busy, of int) {
	for _, s := range q.seconds {
		if q.injected && q.window.has(s.At) {
			of++
			if isBusy(s) {
				busy++
			}
		}
	}
	return busy, of
}
