package claim

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nines-ha/nines/record"
)

// crowded is a script of which three quarters of the window are an overload: 100
// are asked for in a second, 20 can be answered and are, the rest is refused.
func crowded(t *testing.T) *script {
	b := newScript(t)
	b.Header.Load.Steps = []float64{100, 100, 100, 20}
	b.Header.Promise = record.Promise{Slow: 300 * ms, Serves: 20, Goodput: 0.8, Refusal: 100 * ms, Attempts: 1.2, Recovery: 5 * s}
	for at := 5 * s; at < 20*s; at += 10 * ms {
		if at%(50*ms) != 0 {
			b.answer(at, 429, "too many requests at once; try again")
		}
	}
	return b
}

func TestOverload(t *testing.T) {
	for name, c := range map[string]struct {
		change   func(b *script)
		claim    string
		want     Outcome
		got      string
		overall  Outcome
		evidence string
	}{
		"as it should be": {func(*script) {}, "goodput", Held, "100 %: 20 a second in the worst 5 s", Held, "as meant"},
		"refusals":        {func(*script) {}, "refusal", Held, "4 ms of 1,200 attempts", Held, "as meant"},
		"no retries":      {func(*script) {}, "attempts", Held, "1 (1,500 for 1,500)", Held, "as meant"},
		"well at once":    {func(*script) {}, "recovery", Held, "0 s", Held, "as meant"},
		"a bad stretch": {func(b *script) {
			for at := 10 * s; at < 11500*ms; at += 50 * ms {
				b.answer(at, 429, "")
			}
		}, "goodput", Refuted, "70 %: 14 a second in the worst 5 s, 18 in all 15 s", Refuted, ""},
		"some wait": {func(b *script) {
			for i := range 13 {
				b.answer(6*s+10*ms+time.Duration(i)*100*ms, 429, "").Done += 200 * ms
			}
		}, "refusal", Refuted, "204 ms of 1,200 attempts, the slowest 204 ms", Refuted, ""},
		"a few wait": {func(b *script) {
			for i := range 12 {
				b.answer(6*s+10*ms+time.Duration(i)*100*ms, 429, "").Done += 200 * ms
			}
		}, "refusal", Held, "4 ms of 1,200 attempts, the slowest 204 ms", Held, ""},
		"a storm": {func(b *script) {
			for i := range 151 {
				b.tryAgain(6*s+10*ms+time.Duration(i)*50*ms, 2, false)
			}
		}, "attempts", Refuted, "1.201 (1,802 for 1,500)", Refuted, ""},
		"less than a storm": {func(b *script) {
			for i := range 150 {
				b.tryAgain(6*s+10*ms+time.Duration(i)*50*ms, 2, false)
			}
		}, "attempts", Held, "1.2 (1,800 for 1,500)", Held, ""},
		"slow to recover": {func(b *script) {
			for at := 20 * s; at < 23*s; at += 20 * ms {
				b.slow(at, 400*ms).First = at + 399*ms
			}
		}, "recovery", Held, "2.9", Held, ""},
		"fails on": {func(b *script) {
			for at := 20 * s; at < 25*s; at += 100 * ms {
				b.answer(at, 500, "")
			}
		}, "recovery", Refuted, "4.91 s", Refuted, ""},
		"fails to the end": {func(b *script) {
			for at := 20 * s; at < 25*s; at += 10 * ms {
				b.answer(at, 500, "")
			}
		}, "recovery", Refuted, "not within 5 s", Refuted, ""},
		"one is slow": {func(b *script) { b.slow(24*s, time.Second) }, "recovery", Held, "0 s", Held, ""},
		"for lack of CPU": {func(b *script) {
			for at := 20 * s; at < 25*s; at += 10 * ms {
				b.slow(at, 400*ms)
			}
			for i := 20; i < 25; i++ {
				b.Seconds[i].CPU = 0.99
			}
		}, "recovery", Inconclusive, "not within 5 s", Inconclusive, ""},
		"nothing says so": {func(b *script) { b.Header.Load.Steps = nil }, "goodput", Inconclusive, "nothing says that more was asked", Inconclusive, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := crowded(t)
			if c.change(b); name == "fails on" {
				b.Header.Promise.Recovery = 4 * s
			}
			v := b.judge()
			got := claimNamed(t, v, c.claim)
			if got.Outcome != c.want || !strings.Contains(got.Got, c.got) {
				t.Errorf("%+v, want %s: %s", got, c.want, c.got)
			}
			if v.Verdict != c.overall {
				t.Errorf("%s: %s", v.Verdict, v.Because)
			}
			if evidence := fmt.Sprint(v.Attribution); !strings.Contains(evidence, c.evidence) {
				t.Errorf("%q is not in %s", c.evidence, evidence)
			}
		})
	}
}

// What a limit of a proxy refuses is told in words.
func TestOverloadAtAProxy(t *testing.T) {
	b := crowded(t)
	b.answer(6*s+10*ms, 503, "upstream connect error or disconnect/reset before headers. reset reason: overflow")
	b.Header.Mesh = true
	b.Hops = append(b.Hops, record.Hop{ID: b.at(6*s + 10*ms).ID, At: 6*s + 11*ms, Proxy: record.AtGateway, Pod: "g1", Status: 503, Flags: []string{"UO"}, Details: "upstream_reset_before_response_started{overflow}"})
	for i := range 301 {
		b.Hops = append(b.Hops, record.Hop{ID: b.at(7*s + 10*ms + time.Duration(i)*10*ms).ID, Proxy: record.AtGateway, Pod: "g1", Status: 504, Attempts: 2})
	}
	v := b.judge()
	if got := claimNamed(t, v, "attempts"); got.Outcome != Refuted || got.Got != "1.201 (1,500 for 1,500, and 301 of the gateway)" {
		t.Errorf("%+v", got)
	}
	if evidence := fmt.Sprint(v.Attribution); len(v.Attribution) != 1 || v.Attribution[0].Cause != Shed || !strings.Contains(evidence, "overflow, the circuit breaker is open (UO); more was asked than can be served, so that is as meant") {
		t.Errorf("attribution %s", evidence)
	}
}

// The machine's part in what its own seconds show is not the system's.
func TestOverloadOnABusyMachine(t *testing.T) {
	b := crowded(t)
	for i := range 20 {
		b.answer(7*s+10*ms+time.Duration(i)*50*ms, 429, "").Done += 200 * ms
	}
	b.Seconds[7].CPU, b.Seconds[8].CPU = 0.99, 0.99
	v := b.judge()
	if got := claimNamed(t, v, "refusal"); got.Outcome != Inconclusive || v.Verdict != Inconclusive {
		t.Errorf("%+v, %s", got, v.Verdict)
	}
}

// What is refuted has a field of nines.yaml that would have helped.
func TestOverloadFixes(t *testing.T) {
	for field, change := range map[string]func(b *script){
		"services.vehicle.limits.requests": func(b *script) {
			for at := 10 * s; at < 12*s; at += 50 * ms {
				b.answer(at, 429, "")
			}
		},
		"clients.budget": func(b *script) {
			for i := range 200 {
				b.tryAgain(6*s+10*ms+time.Duration(i)*50*ms, 2, false)
			}
		},
	} {
		b := crowded(t)
		change(b)
		v := b.judge()
		if v.Verdict != Refuted || len(v.Fixes) != 1 || v.Fixes[0].Field != field {
			t.Errorf("%s: fixes %+v, want %s", v.Because, v.Fixes, field)
		}
	}
}

// A generator that is late with too much has sent enough; a machine that is busy
// may be why little is answered.
func TestOverloadInDoubt(t *testing.T) {
	for name, c := range map[string]struct {
		doubt func(b *script)
		want  Outcome
	}{
		"late": {func(b *script) { b.late(30, 150*ms) }, Refuted},
		"busy": {func(b *script) {
			for i := 5; i < 25; i++ {
				b.Seconds[i].CPU = 0.99
			}
		}, Inconclusive},
	} {
		b := crowded(t)
		for at := 6 * s; at < 12*s; at += 50 * ms {
			b.answer(at, 429, "")
		}
		c.doubt(b)
		if v := b.judge(); v.Verdict != c.want || claimNamed(t, v, "goodput").Outcome != Refuted || len(v.Doubts) == 0 {
			t.Errorf("%s: %s because %s", name, v.Verdict, v.Because)
		}
	}
	if v := crowded(t).judge(); !strings.HasSuffix(v.Because, "1,200 of them in the 15 s in which more was asked than can be served") {
		t.Errorf("held: %s", v.Because)
	}
}
