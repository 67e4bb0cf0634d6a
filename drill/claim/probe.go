package claim

import (
	"fmt"
	"strings"

	"github.com/nines-ha/nines/internal/wording"
	"github.com/nines-ha/nines/record"
)

// refused is about exchanges that must not succeed. One that did refutes, whatever
// else is known; that all were refused is believed only where each refusal was seen
// at who refused it, and what must be answered was: a wrong address refuses too.
func (q *inquiry) refused(number int, add adder) {
	want := fmt.Sprintf("all %s refused, each in a log", wording.Several(number, "probe", "probes"))
	var admitted, unknown, unseen, unanswered []string
	tried, controls := 0, 0
	for _, e := range q.events {
		switch e.Kind {
		case record.Control:
			if controls++; e.State != record.Answered {
				unanswered = append(unanswered, told(e))
			}
		case record.Probe:
			switch tried++; {
			case e.State == record.Admitted:
				admitted = append(admitted, told(e))
			case e.State != record.Refused:
				unknown = append(unknown, told(e))
			case e.Reason == "":
				unseen = append(unseen, told(e))
			}
		}
	}
	open := func(got string) { add("refused", want, got, false).Outcome = Inconclusive }
	switch {
	case len(admitted) > 0:
		add("refused", want, fmt.Sprintf("%d of %d admitted: %s", len(admitted), number, list(admitted, 3)), false)
	case tried < number:
		open(fmt.Sprintf("%d of %d were tried", tried, number))
	case len(unknown) > 0:
		open("it is not known whether it was refused: " + list(unknown, 3))
	case controls == 0:
		open("nothing that must be answered was asked")
	case len(unanswered) > 0:
		open("what must be answered was not: " + list(unanswered, 3))
	case len(unseen) > 0:
		open("who refused it was not seen: " + list(unseen, 3))
	default:
		add("refused", want, fmt.Sprintf("all %d", tried), true)
	}
}

func (q *inquiry) probes() (all []Probe) {
	for _, e := range q.events {
		if e.Kind == record.Probe {
			all = append(all, Probe{Name: e.Name, State: e.State, Text: e.Text, Proof: e.Reason})
		}
	}
	return all
}

func told(e *record.Event) string {
	if e.Text == "" {
		return e.Name
	}
	return e.Name + " (" + strings.TrimSpace(e.Text) + ")"
}
