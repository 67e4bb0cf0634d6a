package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nines-ha/nines/drill/claim"
)

// Request writes all that is known of one request and of its attempts: station by
// station, in the order of its way, each with when it was there, counted from when
// the request was due.
func Request(w io.Writer, accounts []claim.Account, width int, colour bool) error {
	p := page{width: max(width, narrowest), ink: ink(colour)}
	var lines []string
	for i, a := range accounts {
		if i > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, p.account(a)...)
	}
	if len(accounts) > 0 && len(accounts[0].Unread) > 0 {
		lines = append(lines, "")
		for _, what := range accounts[0].Unread {
			lines = append(lines, p.row("not read", clean(what), len(what))...)
		}
	}
	if _, err := io.WriteString(w, strings.Join(lines, "\n")+"\n"); err != nil {
		return fmt.Errorf("write the request: %w", err)
	}
	return nil
}

func (p page) account(a claim.Account) []string {
	head := fmt.Sprintf("request %s: %s after %s", clean(a.ID), clean(a.Result), lasting(a.Latency))
	lines := []string{fit(head, p.width)}
	if a.Cause != "" {
		text := clean(a.Cause) + ": " + clean(a.Story)
		lines = append(lines, p.row("because", text, len(text))...)
	}
	lines = append(lines, "")
	for _, s := range a.Steps {
		word := pad(later(s.At-a.At), 9) + " "
		text := wrap(clean(s.Text), p.width-gutter-8, len(s.Text)+1)
		for i, line := range text {
			if i > 0 {
				word = strings.Repeat(" ", 10)
			}
			where := clean(s.Where)
			if i > 0 {
				where = ""
			}
			lines = append(lines, p.ink.dim(word+pad(where, gutter-2))+line)
		}
	}
	return lines
}

// later tells how long after the request was due something was, or before.
func later(d time.Duration) string {
	if d < 0 {
		return lasting(d)
	}
	return "+" + lasting(d)
}
