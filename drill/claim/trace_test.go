package claim

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nines-ha/nines/record"
)

// followed is a record in which every tenth request asked to be traced, and has one
// whole trace: two spans of the gateway, one of the sidecar and of the service, and
// two of its store.
func followed(t *testing.T) *script {
	b := newScript(t)
	b.Header.Mesh, b.Header.Gateway, b.Header.Promise.Traced = true, &record.Gateway{Name: "g", Replicas: 2}, 0.99
	for i := range b.Requests {
		r := &b.Requests[i]
		r.ID = fmt.Sprintf("d1932574-%016x", i)
		if r.Sampled = i%10 == 0; !r.Sampled {
			continue
		}
		_, within := record.TraceOf(r.ID)
		for n, place := range []string{record.AtGateway, record.AtGateway, record.Inbound, record.AtService, record.AtStore, record.AtStore} {
			s := record.Span{ID: r.ID, Span: fmt.Sprintf("%016x", n+1), Parent: within, Place: place, Name: place, At: r.Sent + time.Duration(min(n, 4))*100*time.Microsecond}
			s.Length = r.Done - s.At - time.Duration(min(n, 4))*100*time.Microsecond
			b.Spans = append(b.Spans, s)
			if n < 4 {
				within = s.Span
			}
		}
	}
	return b
}

const perTrace = 6

// spoil changes the spans of so many traced requests, from 12 s on.
func (b *script) spoil(requests int, change func(trace []record.Span)) {
	first := 120 * perTrace
	for i := range requests {
		change(b.Spans[first+i*perTrace : first+(i+1)*perTrace])
	}
}

// drop takes away the spans that a change has left without a name.
func (b *script) drop() {
	var rest []record.Span
	for _, s := range b.Spans {
		if s.Span != "" {
			rest = append(rest, s)
		}
	}
	b.Spans = rest
}

func TestTraced(t *testing.T) {
	lose := func(n int) func([]record.Span) { return func(trace []record.Span) { trace[n].Span = "" } }
	for name, one := range map[string]struct {
		change func(b *script)
		want   Outcome
		got    string
	}{
		"whole":                   {func(*script) {}, Held, "100 % (none of 200 not)"},
		"two of 200 without":      {func(b *script) { b.spoil(2, lose(4)); b.spoil(2, lose(5)) }, Held, "99 % (2 of 200 not; 2: no span of the store, d1932574-00000000000004b0 for one)"},
		"three of 200 without":    {func(b *script) { b.spoil(3, lose(4)); b.spoil(3, lose(5)) }, Refuted, "98.5 % (3 of 200 not; 3: no span of the store"},
		"no gateway":              {func(b *script) { b.spoil(9, lose(0)); b.spoil(9, lose(1)) }, Refuted, "9: no span of the gateway"},
		"a link is missing":       {func(b *script) { b.spoil(9, lose(1)) }, Refuted, "9: a span of the inbound without the one it is within"},
		"a trace of its own":      {func(b *script) { b.spoil(9, func(s []record.Span) { s[3].Parent = "" }) }, Refuted, "9: a span of the service without the one it is within"},
		"all below the client":    {func(b *script) { b.spoil(9, func(s []record.Span) { s[3].Parent = s[0].Parent }) }, Refuted, "9: several outermost spans"},
		"the service at the gate": {func(b *script) { b.spoil(9, func(s []record.Span) { s[3].Parent = s[0].Span }) }, Refuted, "9: spans that are not within each other in the order gateway, inbound, service, store"},
		"a ring":                  {func(b *script) { b.spoil(9, func(s []record.Span) { s[3].Parent = s[4].Span }) }, Refuted, "9: a span of the service without"},
		"longer than its parent":  {func(b *script) { b.spoil(9, func(s []record.Span) { s[5].Length += s[5].Length + skew }) }, Refuted, "9: " + untimely},
		"before its parent":       {func(b *script) { b.spoil(9, func(s []record.Span) { s[3].At -= skew + 5*ms }) }, Refuted, "9: " + untimely},
		"the clocks differ":       {func(b *script) { b.spoil(9, func(s []record.Span) { s[3].At -= skew / 2 }) }, Held, "none of 200 not"},
		"told twice":              {func(b *script) { b.Spans = append(b.Spans, b.Spans...) }, Held, "none of 200 not"},
		"out of time when busy": {func(b *script) {
			b.spoil(9, func(s []record.Span) { s[5].Length += 2 * skew })
			for i := range b.Seconds {
				b.Seconds[i].CPU = 1
			}
		}, Inconclusive, "9: " + untimely},
		"nothing told": {func(b *script) { b.Spans = nil }, Refuted, "0 % (200 of 200 not; 200: no span at all"},
		"some lost":    {func(b *script) { b.Spans, b.End.Untraced = nil, "the ground did not answer" }, Inconclusive, "200: no span at all"},
		"some lost, and enough": {func(b *script) {
			b.End.Untraced = "the ground did not answer"
		}, Held, "none of 200 not"},
		"nobody asked": {func(b *script) {
			for i := range b.Requests {
				b.Requests[i].Sampled = false
			}
		}, Inconclusive, "no request that asked to be traced was answered"},
		"failed ones are not judged": {func(b *script) {
			b.spoil(1, lose(4))
			b.spoil(1, lose(5))
			b.fail(12*s, record.Reset, 5*ms)
		}, Held, "none of 199 not"},
		"no store": {func(b *script) {
			b.Header.Stores = nil
			b.spoil(200, lose(4))
			b.spoil(200, lose(5))
		}, Held, "none of 200 not"},
		"no mesh": {func(b *script) { b.Header.Mesh, b.Header.Gateway = false, nil }, Held, "none of 200 not"},
	} {
		t.Run(name, func(t *testing.T) {
			b := followed(t)
			one.change(b)
			b.drop()
			v := b.judge()
			if c := claimNamed(t, v, "traced"); c.Outcome != one.want || !strings.Contains(c.Got, one.got) {
				t.Errorf("%s, %s; want %s, %s", c.Outcome, c.Got, one.want, one.got)
			}
			if one.want == Refuted && (v.Verdict != Refuted || len(v.Fixes) != 1) {
				t.Errorf("%s because %s, fixes %v", v.Verdict, v.Because, v.Fixes)
			}
		})
	}
}

// A request's spans are told below each other, and what belongs nowhere is told too.
func TestTellTrace(t *testing.T) {
	b := followed(t)
	b.spoil(1, func(trace []record.Span) {
		trace[1].Pod, trace[1].Failed = "g1", true
		trace[3].Parent = "lost"
	})
	tell := func(at time.Duration) (lines []string) {
		accounts, err := Tell(b.Record, b.at(at).ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range accounts[0].Steps {
			if step.Where == "trace" {
				lines = append(lines, step.Text)
			}
		}
		return lines
	}
	want := []string{
		"gateway: gateway, 4 ms", "· gateway: gateway at g1, 4 ms, failed", "· · inbound: inbound, 4 ms",
		"within a span that the record does not have:", "· service: service, 3 ms", "· · store: store, 3 ms", "· · store: store, 3 ms",
	}
	if got := tell(12 * s); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q", got)
	}
	if got := tell(12*s + 10*ms); len(got) != 0 {
		t.Errorf("of a request that did not ask: %q", got)
	}
	b.Spans = nil
	if got := tell(12 * s); len(got) != 1 || !strings.Contains(got[0], "has no span of it") {
		t.Errorf("%q", got)
	}
}
