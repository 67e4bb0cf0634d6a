package report

import (
	"fmt"
	"strings"

	"github.com/nines-ha/nines/drill/claim"
	"github.com/nines-ha/nines/internal/wording"
)

// why tells the causes with their evidence, the doubts, and what would have
// prevented it, in so many lines. Fixes come before further causes, and a second
// line of evidence is for what room is left.
func (p page) why(v *claim.Verdict, room int) []string {
	room = max(room, leastWhy)
	lines := []string{""}
	room--
	doubts := p.doubts(v, min(2, room/6))
	room -= len(doubts)
	fixes := p.fixes(v.Fixes, min(4, max(1, room/2)))
	room -= len(fixes)
	lines = append(lines, p.causes(weighty(v.Attribution), room)...)
	lines = append(lines, doubts...)
	lines = append(lines, fixes...)
	if len(lines) == 1 {
		return nil
	}
	return lines
}

// causes takes two lines each; the last line tells of those that found no room.
func (p page) causes(causes []claim.Attribution, room int) []string {
	shown := min(len(causes), room/2)
	if shown < len(causes) {
		shown = max(0, (room-1)/2)
	}
	spare := room - 2*shown
	var lines []string
	for _, a := range causes[:shown] {
		text := fmt.Sprintf("%s: %s%s", clean(a.Cause), clean(a.Text), parts(a))
		lines = append(lines, p.ink.red(pad(fmt.Sprintf("%*s  ", gutter-2, wording.Count(a.Count)), gutter))+fit(text, p.width-gutter))
		evidence := "no evidence"
		if len(a.Evidence) > 0 {
			evidence = clean(a.Evidence[0])
		}
		most := 1
		if shown == len(causes) && spare > 0 {
			most = 2
		}
		told := p.row("", evidence, most)
		spare -= len(told) - 1
		lines = append(lines, told...)
	}
	if rest := causes[shown:]; len(rest) > 0 && room > 0 {
		var words []string
		for _, a := range rest {
			words = append(words, clean(a.Cause)+" "+wording.Count(a.Count))
		}
		lines = append(lines, p.row("and", strings.Join(words, " · "), 1)...)
	}
	return lines
}

// parts says how many failed and were slow where it is not all the same.
func parts(a claim.Attribution) string {
	switch {
	case a.Slow == 0:
		return " (failed)"
	case a.Failed == 0:
		return " (slow)"
	}
	return fmt.Sprintf(" (%s failed, %s slow)", wording.Count(a.Failed), wording.Count(a.Slow))
}

// doubts are those that the headline does not tell already.
func (p page) doubts(v *claim.Verdict, most int) []string {
	var words []string
	for _, d := range otherDoubts(v) {
		words = append(words, clean(d))
	}
	if len(words) == 0 || most == 0 {
		return nil
	}
	return p.row("doubts", strings.Join(words, " · "), most)
}

// advice is a fix in words; not every one is a field of the description.
func advice(f claim.Fix) string {
	if f.Field == "" {
		return clean(f.Change)
	}
	return clean(f.Field) + ": " + clean(f.Change)
}

func (p page) fixes(fixes []claim.Fix, most int) []string {
	var lines []string
	for i, f := range fixes {
		each := 1
		if 2*len(fixes) <= most {
			each = 2
		}
		if len(lines)+each > most {
			break
		}
		text := advice(f)
		if f.Why != "" {
			text += " (" + clean(f.Why) + ")"
		}
		word := ""
		if i == 0 {
			word = "fix"
		}
		lines = append(lines, p.row(word, text, each)...)
	}
	return lines
}
