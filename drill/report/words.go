package report

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nines-ha/nines/internal/wording"
)

// lasting writes a duration as a person reads it: three digits that matter.
func lasting(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + lasting(-d)
	case d == 0:
		return "0 s"
	case d < time.Millisecond:
		return wording.Decimal(d.Seconds()*1e3, 2) + " ms"
	case d < 999500*time.Microsecond:
		return wording.Decimal(d.Seconds()*1e3, 0) + " ms"
	case d < 10*time.Second:
		return wording.Decimal(d.Seconds(), 2) + " s"
	case d < 2*time.Minute:
		return wording.Decimal(d.Seconds(), 1) + " s"
	}
	d = d.Round(time.Second)
	if d%time.Minute == 0 {
		return wording.Count(int(d/time.Minute)) + " min"
	}
	return fmt.Sprintf("%s min %d s", wording.Count(int(d/time.Minute)), d%time.Minute/time.Second)
}

// reached writes a duration that is -1 where it did not come to that.
func reached(d time.Duration) string {
	if d < 0 {
		return "never"
	}
	return lasting(d)
}

// spent writes a part of 1 as percent, rounded up: something is not 0 %.
func spent(share float64) string {
	return wording.Decimal(max(0, math.Ceil(share*1e4-1e-6))/1e2, 2) + " %"
}

// clean makes one line of a text that comes from elsewhere, without anything
// that a terminal would obey.
func clean(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	}), " ")
}

// fit cuts a text to so many columns.
func fit(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return strings.TrimRight(string([]rune(s)[:max(width-1, 0)]), " ") + "…"
}

// pad fills a text up with blanks, or cuts it.
func pad(s string, width int) string {
	s = fit(s, width)
	return s + strings.Repeat(" ", width-utf8.RuneCountInString(s))
}

// wrap breaks a text at blanks into at most so many lines; the last one ends
// with … where more was there. A number keeps its unit.
func wrap(s string, width, most int) []string {
	var lines []string
	line := ""
	for _, word := range words(s) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		case len(lines) == most-1:
			return append(lines, fit(line+" "+word, width))
		default:
			lines, line = append(lines, fit(line, width)), word
		}
	}
	if line != "" {
		lines = append(lines, fit(line, width))
	}
	return lines
}

func words(s string) []string {
	var all []string
	for _, word := range strings.Fields(s) {
		switch strings.TrimRight(word, ".,;:)") {
		case "s", "ms", "min", "%":
			if len(all) > 0 {
				all[len(all)-1] += " " + word
				continue
			}
		}
		all = append(all, word)
	}
	return all
}
