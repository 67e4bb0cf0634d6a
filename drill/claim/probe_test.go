package claim

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nines-ha/nines/record"
)

// probe adds a control that was answered and a probe of each state, those that were
// refused with what shows it.
func (b *script) probe(states ...string) {
	b.event(6*s, record.Control, "the way in", record.Answered).Text = "answered 200"
	for i, state := range states {
		e := b.event(6*s, record.Probe, fmt.Sprintf("probe %d", i), state)
		switch state {
		case record.Refused:
			e.Text, e.Reason = "closed before any answer", "NR filter_chain_not_found (log of p1)"
		case record.Admitted:
			e.Text = "answered 403"
		}
	}
}

// A refusal that may be nobody's proves nothing.
func TestRefusedUnknown(t *testing.T) {
	for want, change := range map[string]func(*script){
		"0 of 2 were tried": func(*script) {},
		"1 of 2 were tried": func(b *script) { b.probe(record.Refused) },
		"it is not known whether it was refused: probe 1": func(b *script) { b.probe(record.Refused, record.Unknown) },
		"who refused it was not seen: probe 1 (closed before any answer)": func(b *script) {
			b.probe(record.Refused, record.Refused)
			b.Events[len(b.Events)-1].Reason = ""
		},
		"what must be answered was not: the way in (answered 503)": func(b *script) {
			b.probe(record.Refused, record.Refused)
			e := &b.Events[len(b.Events)-3]
			e.State, e.Text = record.Unanswered, "answered 503"
		},
		"nothing that must be answered was asked": func(b *script) {
			b.probe(record.Refused, record.Refused)
			n := len(b.Events)
			b.Events = append(b.Events[:n-3], b.Events[n-2:]...)
		},
	} {
		b := newScript(t)
		b.Header.Promise = record.Promise{Refused: 2}
		change(b)
		v := b.judge()
		if c := claimNamed(t, v, "refused"); c.Outcome != Inconclusive || v.Verdict != Inconclusive || !strings.HasPrefix(c.Got, want) {
			t.Errorf("%s: claim %s, verdict %s: %s", want, c.Outcome, v.Verdict, c.Got)
		}
	}
}

// An open door refutes although the machine was too busy to measure anything.
func TestAdmittedStands(t *testing.T) {
	b := newScript(t)
	b.Header.Promise = record.Promise{Refused: 1}
	b.probe(record.Admitted)
	for i := range b.Seconds {
		b.Seconds[i].CPU, b.Seconds[i].Steal = 1, 0.9
	}
	if v := b.judge(); v.Verdict != Refuted || !strings.HasPrefix(v.Because, "refused: promised all 1 probe refused") {
		t.Errorf("%s: %s", v.Verdict, v.Because)
	}
}
