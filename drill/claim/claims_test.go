package claim

import (
	"strings"
	"testing"
	"time"

	"github.com/nines-ha/nines/record"
)

// Each claim is refuted by one record and held by another that is nearly the same.
func TestClaims(t *testing.T) {
	failing := func(n int) func(*script) {
		return func(b *script) {
			for i := range n {
				b.answer(10*s+time.Duration(i)*10*ms, 500, "")
			}
		}
	}
	slow := func(n int, took time.Duration) func(*script) {
		return func(b *script) {
			for i := range n {
				r := b.slow(10*s+time.Duration(i)*10*ms, took)
				r.First = r.Done - ms
			}
		}
	}
	missing := func(until time.Duration) func(*script) {
		return func(b *script) {
			b.on(8*s, record.Endpoint, "p1", "gone", "n1")
			b.on(until, record.Endpoint, "p4", "ready", "n1")
		}
	}
	store := func(change func(*script)) func(*script) { return change }
	read := func(saw int64) func(*script) {
		return func(b *script) {
			r := b.at(12 * s) // r1200; r1170 wrote version 1171 of v0 at 11.7 s
			r.Write, r.Read = nil, &record.Read{Entity: "v0", Saw: saw}
			b.Stored = append(b.Stored[:1200], b.Stored[1201:]...)
		}
	}
	spared := func(at time.Duration) func(*script) {
		return func(b *script) {
			b.event(5*s, record.Impaired, "p1", record.Asked)
			b.event(at, record.Impaired, "p1", record.Spared)
			b.event(20*s, record.Impaired, "p1", record.Asked) // it is tried again
		}
	}
	inMesh := func(state string) func(*script) {
		return func(b *script) {
			b.event(20*s, record.Mesh, "p1", record.Inside)
			b.event(20*s, record.Mesh, "p4", state)
		}
	}
	knocked := func(states ...string) func(*script) {
		return func(b *script) { b.probe(states...) }
	}
	tests := []struct {
		name      string
		promise   record.Promise
		bad, good func(*script)
		got       string // of the refuted claim
	}{
		{"availability", record.Promise{Availability: 0.999}, failing(3), failing(2), "99.85 % (3 of 2,000 failed)"},
		{"failed", record.Promise{Failed: number(0)}, func(b *script) { b.answer(27*s, 503, "") }, func(b *script) { b.answer(1*s, 503, "") }, "1 of 2,800 in the whole run"},
		{"failed", record.Promise{Failed: number(2)}, failing(3), failing(2), "3 of 2,800 in the whole run"},
		{"p50", record.Promise{P50: 10 * ms}, slow(1001, 11*ms), slow(1000, 11*ms), "11 ms"},
		{"p95", record.Promise{P95: 10 * ms}, slow(101, 11*ms), slow(100, 11*ms), "11 ms"},
		{"p99", record.Promise{P99: 100 * ms}, slow(21, 101*ms), slow(20, 101*ms), "101 ms"},
		{"recovery", record.Promise{Recovery: 6 * s}, func(b *script) { b.answer(11*s, 500, "") }, func(b *script) { b.answer(10*s+990*ms, 500, "") }, "6.005 s"},
		{"recovery", record.Promise{Recovery: 60 * s}, func(b *script) { b.answer(24*s, 500, "") }, func(b *script) { b.answer(23*s+990*ms, 500, "") }, "not within 20 s"},
		{"answer", record.Promise{Answer: 2500 * ms}, func(b *script) { b.slow(10*s, 2501*ms) }, func(b *script) { b.slow(10*s, 2500*ms) }, "1 of 2,000 not; the longest took 2.501 s"},
		{"answer", record.Promise{Answer: 2500 * ms}, func(b *script) { b.fail(10*s, record.Reset, s) }, func(b *script) { b.answer(10*s, 503, "too many requests at once") }, "1 of 2,000 not; the longest took 1 s"},
		{"capacity", record.Promise{Capacity: 3}, missing(24 * s), func(b *script) { b.on(26*s, record.Endpoint, "p1", "gone", "n1") }, "2, from 3 s after the fault for 16 s"},
		{"restored", record.Promise{Restored: true}, missing(26 * s), missing(25 * s), "after 21 s"},
		{"restored", record.Promise{Restored: true}, func(b *script) { b.on(8*s, record.Endpoint, "p1", "gone", "n1") }, func(*script) {}, "never; 2 at the end"},
		{"writes", record.Promise{Writes: true}, store(func(b *script) { b.Stored = b.Stored[1:] }), store(func(b *script) {
			b.Stored = b.Stored[1:]
			b.fail(0, record.Timeout, 5*s)
		}), "1 lost, none doubled, none changed of 3,000"},
		{"writes", record.Promise{Writes: true}, store(func(b *script) { b.Stored[7].Copies = 2 }), store(func(b *script) { b.Stored[7].Copies = 1 }), "none lost, 1 doubled, none changed of 3,000"},
		{"writes", record.Promise{Writes: true}, store(func(b *script) { b.Stored[7].Sum = "s8" }), store(func(b *script) { b.Stored[7].Sum = "s7" }), "none lost, none doubled, 1 changed of 3,000"},
		{"ejected", record.Promise{Ejected: 5 * s}, spared(10*s + ms), spared(10 * s), "the last came after 5.001 s"},
		{"ejected", record.Promise{Ejected: 5 * s}, func(b *script) { b.event(5*s, record.Impaired, "p1", record.Asked) }, spared(7 * s), "pod p1 got requests all along"},
		{"meshed", record.Promise{Meshed: true}, inMesh(record.Outside), inMesh(record.Inside), "1 of 2 pods: p4"},
		{"refused", record.Promise{Refused: 2}, knocked(record.Refused, record.Admitted), knocked(record.Refused, record.Refused), "1 of 2 admitted: probe 1 (answered 403)"},
		{"refused", record.Promise{Refused: 2}, func(b *script) {
			b.probe(record.Unknown, record.Admitted)
			b.Events[len(b.Events)-3].State = record.Unanswered // the control's
		}, knocked(record.Refused, record.Refused), "1 of 2 admitted: probe 1 (answered 403)"},
		{"fresh", record.Promise{Fresh: true}, read(1170), read(1171), "1 stale read"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			for _, one := range []struct {
				change func(*script)
				want   Outcome
			}{{tc.bad, Refuted}, {tc.good, Held}} {
				b := newScript(t)
				b.Header.Promise = tc.promise
				one.change(b)
				v := b.judge()
				c := claimNamed(t, v, tc.name)
				if c.Outcome != one.want || v.Verdict != one.want {
					t.Errorf("claim %s, verdict %s (%s), want %s: want %s, got %s", c.Outcome, v.Verdict, v.Because, one.want, c.Want, c.Got)
				}
				if one.want == Refuted && c.Got != tc.got {
					t.Errorf("got %q, want %q", c.Got, tc.got)
				}
				if fixes := len(v.Fixes) > 0; fixes != (v.Verdict == Refuted) && !strings.HasPrefix(tc.name, "p") {
					t.Errorf("verdict %s with %d fixes", v.Verdict, len(v.Fixes))
				}
			}
		})
	}
}

// A promise about which the record says nothing is neither kept nor broken.
func TestUnjudged(t *testing.T) {
	tests := []struct {
		name    string
		promise record.Promise
		change  func(*script)
	}{
		{"writes", record.Promise{Writes: true}, func(b *script) { b.End.ReadBack = false }},
		{"writes", record.Promise{Writes: true}, func(b *script) {
			b.Stored = append(b.Stored, record.Stored{Entity: "v0", Version: 9999, Sum: "x", Copies: 1})
		}},
		{"capacity", record.Promise{Capacity: 1}, func(b *script) { b.Events = nil }},
		{"restored", record.Promise{Restored: true}, func(b *script) { b.Events = nil }},
		{"availability", record.Promise{Availability: 0.9999}, func(b *script) {
			b.fail(10*s, record.ConnectTimeout, 3*s)
			b.Seconds[11].CPU = 0.97
		}},
		{"p99", record.Promise{P99: 100 * ms}, func(b *script) {
			for i := range 100 {
				b.slow(10*s+time.Duration(i)*10*ms, 120*ms)
			}
			b.Seconds[10].Steal, b.Seconds[11].Steal = 0.8, 0.8
		}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			b := newScript(t)
			b.Header.Promise = tc.promise
			tc.change(b)
			v := b.judge()
			if c := claimNamed(t, v, tc.name); c.Outcome != Inconclusive || v.Verdict != Inconclusive {
				t.Errorf("claim %s, verdict %s (%s): %s", c.Outcome, v.Verdict, v.Because, c.Got)
			}
		})
	}
}

// What is not known is no proof.
func TestEjectedAndMeshedUnknown(t *testing.T) {
	for name, change := range map[string]func(*script){
		"nobody counted":         func(*script) {},
		"the counting ended":     func(b *script) { b.event(7*s, record.Impaired, "p1", record.Broken).Reason = "killed" },
		"hardly anybody asks it": func(b *script) { b.Header.Load.Rate = 1; b.event(7*s, record.Impaired, "p1", record.Spared) },
	} {
		b := newScript(t)
		b.Header.Promise = record.Promise{Ejected: 5 * s, Meshed: true}
		change(b)
		v, err := Judge(b.Record)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range v.Claims {
			if c.Outcome != Inconclusive {
				t.Errorf("%s: %+v", name, c)
			}
		}
	}
}

// A window without requests refutes nothing, however the record came to end there.
func TestNothingDue(t *testing.T) {
	for name, change := range map[string]func(b *script){
		"cut": func(b *script) { b.Cut, b.End, b.Seconds, b.Stored, b.Phases = true, nil, nil, nil, b.Phases[:4] },
		"run": func(*script) {},
	} {
		t.Run(name, func(t *testing.T) {
			b := newScript(t)
			b.Header.Promise = record.Promise{Availability: 0.999, P99: 300 * ms, Recovery: 30 * s, Slow: 300 * ms}
			b.Requests = nil
			change(b)
			v, err := Judge(b.Record)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range v.Claims {
				if c.Outcome == Refuted {
					t.Errorf("%s is refuted: %s", c.Name, c.Got)
				}
				if c.Name != "recovery" && c.Got != nothingDue {
					t.Errorf("%s: %s", c.Name, c.Got)
				}
			}
			if v.Verdict != Inconclusive {
				t.Errorf("%s: %s", v.Verdict, v.Because)
			}
		})
	}
}

// That spans may be missing is told also where what was found is enough.
func TestUntraced(t *testing.T) {
	b := newScript(t)
	b.End.Untraced = "the ground did not answer"
	v, err := Judge(b.Record)
	if err != nil {
		t.Fatal(err)
	}
	if v.Untraced != b.End.Untraced {
		t.Errorf("untraced: %q", v.Untraced)
	}
}
