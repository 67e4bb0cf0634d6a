package claim

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nines-ha/nines/record"
)

// What first attempts came to stands beside what requests came to, and what a
// retry saved is explained too.
func TestFirstAndFinal(t *testing.T) {
	b := newScript(t)
	b.Header.Promise.Availability, b.Header.Promise.Writes = 0.999, true
	b.event(5*s, record.Machine, "n1", "stopped")
	b.event(14*s, record.Backend, "n1", "down")
	saved := 0
	for i := range 30 {
		if r := b.at(6*s + time.Duration(i)*10*ms); r.Pod == "p1" {
			b.fail(r.Scheduled, record.Timeout, s)
			b.tryAgain(r.Scheduled, 1, true)
			saved++
		}
	}
	b.fail(8*s, record.ConnectTimeout, s)
	b.tryAgain(8*s, 2, false)
	b.Stored = slices.Delete(b.Stored, 800, 801) // it was never sent
	b.answer(3*s, 503, "")
	b.tryAgain(3*s, 1, true) // before the fault
	v := b.judge()
	f := v.Requests.FirstAttempt
	if v.Requests.Total != 2000 || v.Requests.Failed != 1 || v.Requests.Slow != saved || v.Requests.RunFailed != 1 {
		t.Errorf("%+v", v.Requests)
	}
	if want := (FirstAttempt{Failed: saved + 1, Saved: saved, Availability: float64(2000-saved-1) / 2000, RunFailed: saved + 2, RunSaved: saved + 1}); f != want {
		t.Errorf("first attempts %+v, want %+v", f, want)
	}
	if v.Requests.Attempts != 2000+saved+2 || math.Abs(v.Requests.Amplification-float64(v.Requests.Attempts)/2000) > 1e-9 {
		t.Errorf("%d attempts, %g for a request", v.Requests.Attempts, v.Requests.Amplification)
	}
	if v.Retry == nil || v.Retry.Attempts != 3 {
		t.Errorf("the policy is told as %+v", v.Retry)
	}
	if c := claimNamed(t, v, "availability"); c.Outcome != Held || c.Got != "99.95 % final, 99.45 % at the first attempt (1 of 2,000 failed, 10 saved by a retry)" {
		t.Errorf("%+v", c)
	}
	if v.Verdict != Held {
		t.Errorf("%s because %s", v.Verdict, v.Because)
	}
	if len(v.Saved) != 2 || v.Saved[0].Cause != NodeDown || v.Saved[0].Count != saved || v.Saved[1].Cause != ServerError || v.Saved[1].Count != 1 {
		t.Fatalf("saved %+v", v.Saved)
	}
	story := v.Saved[0].Evidence[0]
	for _, part := range []string{"2 attempts: timeout (node-down), 200; the first: no answer within 1 s: on a connection to n1, powered off", "and 9 requests like it"} {
		if !strings.Contains(story, part) {
			t.Errorf("%q does not say %q", story, part)
		}
	}
	var failed Case
	for _, c := range v.Worst {
		if c.Result == "connect-timeout" {
			failed = c
		}
	}
	if failed.Attempts != 3 || failed.Latency != 3600*ms || failed.Cause != BalancerUnaware || !strings.HasPrefix(failed.Story, "3 attempts: connect-timeout (balancer-unaware), connect-timeout (balancer-unaware), connect-timeout (balancer-unaware); the first: ") {
		t.Errorf("%+v", failed)
	}
	if v.Writes.Lost+v.Writes.Doubled+v.Writes.Changed+v.Writes.Strange > 0 || v.Writes.Acknowledged != 2999 {
		t.Errorf("%+v", v.Writes)
	}
}

// Of several attempts the commonest cause counts, and the earliest of those; what
// the measuring spoilt only if there is nothing else.
func TestCauseOfSeveralAttempts(t *testing.T) {
	busy := func(b *script, from, to int) {
		for i := from; i < to; i++ {
			b.Seconds[i].CPU = 0.99
		}
	}
	for name, test := range map[string]struct {
		make func(b *script)
		want string
	}{
		"all alike": {func(b *script) { b.answer(12*s, 503, ""); b.tryAgain(12*s, 2, false) }, ServerError},
		"most": {func(b *script) {
			b.answer(12*s, 503, "")
			later := b.tryAgain(12*s, 2, false)
			later[0].Status, later[1].Status = 429, 429
		}, Shed},
		"one each": {func(b *script) {
			b.answer(12*s, 503, "")
			b.tryAgain(12*s, 1, false)[0].Status = 429
		}, ServerError},
		"the machine, and something else": {func(b *script) {
			busy(b, 11, 14)
			b.fail(12*s, record.Timeout, s)
			later := b.tryAgain(12*s, 2, false)
			later[1].Error, later[1].Status = "", 503
		}, ServerError},
		"the machine alone": {func(b *script) {
			busy(b, 11, 16)
			b.fail(12*s, record.Timeout, s)
			b.tryAgain(12*s, 2, false)
		}, Machine},
		"slow, because of what failed": {func(b *script) {
			b.answer(12*s, 429, "")
			b.tryAgain(12*s, 1, true)
		}, Shed},
	} {
		t.Run(name, func(t *testing.T) {
			b := newScript(t)
			test.make(b)
			v := b.judge()
			if len(v.Attribution) != 1 || v.Attribution[0].Cause != test.want || v.Attribution[0].Count != 1 {
				t.Errorf("%+v, want %s", v.Attribution, test.want)
			}
		})
	}
}

// A client got an answer as soon as it was refused, although it tried again.
func TestAnswerOfSeveralAttempts(t *testing.T) {
	b := newScript(t)
	b.Header.Promise.Answer = 2500 * ms
	b.answer(12*s, 503, "")
	b.tryAgain(12*s, 2, false)
	for i := range b.Requests {
		if r := &b.Requests[i]; r.Of != "" && r.Retries == 2 {
			r.Error, r.Status, r.Done = record.Timeout, 0, r.Scheduled+4*s
		}
	}
	if c := claimNamed(t, b.judge(), "answer"); c.Outcome != Held {
		t.Errorf("refused at once: %+v", c)
	}
	b.fail(13*s, record.Timeout, s)
	b.tryAgain(13*s, 2, false)
	if c := claimNamed(t, b.judge(), "answer"); c.Outcome != Refuted || !strings.HasPrefix(c.Got, "1 of 2,000 not") {
		t.Errorf("never answered: %+v", c)
	}
}

// Attempts that do not fit together make a record no evidence.
func TestAttemptsThatDoNotFit(t *testing.T) {
	for name, test := range map[string]struct {
		change func(b *script, later []*record.Request)
		want   string
	}{
		"as it is":                 {func(*script, []*record.Request) {}, ""},
		"one missing":              {func(b *script, _ []*record.Request) { b.Requests = slices.Delete(b.Requests, 3000, 3001) }, "do not fit"},
		"the last missing":         {func(b *script, _ []*record.Request) { b.Requests = b.Requests[:3001] }, "do not fit"},
		"the first missing":        {func(b *script, _ []*record.Request) { b.Requests = slices.Delete(b.Requests, 1200, 1201) }, "do not fit"},
		"before the one before":    {func(_ *script, later []*record.Request) { later[1].Scheduled = later[0].Done - 1 }, "do not fit"},
		"another client":           {func(_ *script, later []*record.Request) { later[1].Client++ }, "do not fit"},
		"another write":            {func(_ *script, later []*record.Request) { later[1].Write.Version++ }, "do not fit"},
		"after a good answer":      {func(b *script, _ []*record.Request) { b.at(12 * s).Status = 200 }, "do not fit"},
		"more than declared":       {func(b *script, _ []*record.Request) { b.Header.Load.Retry.Attempts = 2 }, "more attempts than the 2"},
		"none declared":            {func(b *script, _ []*record.Request) { b.Header.Load.Retry = nil }, "more attempts than the 1"},
		"one more counted":         {func(b *script, _ []*record.Request) { b.Seconds[12].Retried++ }, "the generator counted 3"},
		"first failures as failed": {func(b *script, _ []*record.Request) { b.Seconds[12].Failed++ }, "the generator counted 3,000 and 1"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newScript(t)
			b.Header.Promise.Availability = 0.9
			b.answer(12*s, 503, "")
			later := b.tryAgain(12*s, 2, true)
			recount(b.Record)
			test.change(b, later)
			v := b.judgeAsIs()
			switch {
			case test.want == "" && v.Verdict != Held:
				t.Errorf("%s because %s", v.Verdict, v.Because)
			case test.want != "" && (v.Verdict != Inconclusive || !slices.ContainsFunc(v.Doubts, func(d string) bool { return strings.Contains(d, test.want) })):
				t.Errorf("%s with %q, want %q", v.Verdict, v.Doubts, test.want)
			}
		})
	}
}

// Where nothing may be tried again, nothing is said of it.
func TestNothingToTryAgain(t *testing.T) {
	b := newScript(t)
	b.Header.Promise.Availability = 0.999
	b.answer(12*s, 503, "")
	text, err := json.Marshal(b.judge())
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"firstAttempt", "ttempts", "amplification", "saved", "retry"} {
		if strings.Contains(string(text), field) {
			t.Errorf("a verdict without retries says %q", field)
		}
	}
	b.Header.Load.Retry = &record.Retry{Attempts: 2}
	v := b.judge()
	if f := v.Requests.FirstAttempt; v.Requests.Attempts != 2000 || v.Requests.Amplification != 1 || f.Failed != 1 || f.Saved != 0 || f.Availability != v.Requests.Availability {
		t.Errorf("%+v", v.Requests)
	}
}

// Numbers about attempts are counted from them, not derived from one another, and
// add up to what a look at every line gives.
func TestAttemptsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rec := anyRecord(t)
		v := mustJudge(t, rec)
		if rec.Header.Load.Retry == nil {
			if v.Requests.FirstAttempt != (FirstAttempt{}) || v.Requests.Attempts != 0 || v.Saved != nil || v.Retry != nil {
				t.Fatalf("without retries: %+v, %+v", v.Requests, v.Saved)
			}
			return
		}
		from := rec.Phases[2].At
		var want Requests
		total, final := 0, 0
		for _, w := range wholes(rec) {
			in, saved := w.due >= from && w.due < from+rec.Header.Window.Length, w.firstFailed && !w.failed
			if w.due >= rec.Phases[1].At {
				if w.firstFailed {
					want.FirstAttempt.RunFailed++
				}
				if saved {
					want.FirstAttempt.RunSaved++
				}
			}
			if !in {
				continue
			}
			total++
			want.Attempts += w.attempts
			if w.firstFailed {
				want.FirstAttempt.Failed++
			}
			if saved {
				want.FirstAttempt.Saved++
			}
			if w.failed {
				final++
			}
		}
		got := v.Requests
		if total > 0 {
			want.FirstAttempt.Availability = float64(total-want.FirstAttempt.Failed) / float64(total)
			want.Amplification = float64(want.Attempts) / float64(total)
		}
		if got.Attempts != want.Attempts || got.Amplification != want.Amplification || got.FirstAttempt != want.FirstAttempt || got.Total != total || got.Failed != final {
			t.Fatalf("got  %+v\nwant %+v, %d failed of %d", got, want, final, total)
		}
		// Every request that failed at first was saved or failed in the end.
		if got.Failed < got.FirstAttempt.Failed-got.FirstAttempt.Saved {
			t.Fatalf("%+v", got)
		}
		saved, seen := 0, map[string]bool{}
		for _, one := range v.Saved {
			if one.Count < 1 || one.Text == "" || len(one.Evidence) == 0 || seen[one.Cause] {
				t.Fatalf("%+v", v.Saved)
			}
			seen[one.Cause] = true
			saved += one.Count
		}
		if saved != got.FirstAttempt.RunSaved {
			t.Fatalf("%d saved are explained of %d", saved, got.FirstAttempt.RunSaved)
		}
	})
}
