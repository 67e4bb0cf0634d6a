package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/nines-ha/nines/drill"
	"github.com/nines-ha/nines/record"
)

// drillStory tells how a drill goes: a line that renews itself on a terminal, a
// line every few seconds elsewhere, and a line for each thing that happens.
type drillStory struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	live     bool // a line that is to be overwritten is on the screen
	phase    string
	said     time.Duration
}

func newDrillStory(w io.Writer) *drillStory {
	file, ok := w.(interface{ Fd() uintptr })
	return &drillStory{w: w, terminal: ok && term.IsTerminal(int(file.Fd()))}
}

func (s *drillStory) begin(name, twin string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phase, s.said = "", 0
	if twin != "" {
		name += " on the twin " + twin
	}
	s.line("drill %s: waiting until everything is in order", name)
}

// announce says what will be touched, before anything is.
func (s *drillStory) announce(h *record.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line("%s: %s", h.Drill, h.About)
	for _, t := range h.Touches {
		s.line("  will: %s", t)
	}
	rates := fmt.Sprintf("%.0f", h.Load.Rate)
	for i, rate := range h.Load.Steps {
		rates += fmt.Sprintf("%s%.0f", map[bool]string{true: ", then ", false: ", "}[i == 0], rate)
	}
	s.line("  load: %s requests/s from %d clients; judged: %s from the fault on", rates, h.Load.Clients, h.Window.Length)
	if p := h.Load.Retry; p != nil && p.Attempts > 1 {
		s.line("  clients: at most %d attempts of %s each, %s to %s apart, within %s", p.Attempts, p.Timeout, p.BackoffMin, p.BackoffMax, h.Load.Deadline)
		if p.Budget > 0 {
			s.line("  clients: a retry for each %.3g requests that were answered well, and ten at first", 1/p.Budget)
		}
	}
	if !h.Promise.Writes {
		s.line("  not judged: whether a write is lost, since what is stored cannot be read back here")
	}
}

// aloud is the longest silence where no line can renew itself.
const aloud = 5 * time.Second

func (s *drillStory) progress(p drill.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Phase != s.phase {
		s.phase = p.Phase
		s.line("%6.1fs  %s %s", p.At.Seconds(), p.Phase, p.Text)
		return
	}
	if p.Text != "" {
		s.line("%6.1fs    %s", p.At.Seconds(), p.Text)
		return
	}
	state := fmt.Sprintf("%6.1fs    %s: %4.0f/s, %d failed (%d in all), p99 %s, %d in flight, %d ready",
		p.At.Seconds(), p.Phase, p.Rate, p.Failing, p.Failed, p.P99.Round(100*time.Microsecond), p.InFlight, p.Ready)
	switch {
	case s.terminal:
		fmt.Fprintf(s.w, "\r\x1b[K%s", state)
		s.live = true
	case p.Failing > 0 || p.At-s.said >= aloud:
		s.said = p.At
		s.line("%s", state)
	}
}

func (s *drillStory) line(format string, args ...any) {
	if s.live {
		fmt.Fprint(s.w, "\r\x1b[K")
		s.live = false
	}
	fmt.Fprintln(s.w, strings.TrimRight(fmt.Sprintf(format, args...), " "))
}

func (s *drillStory) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line(format, args...)
}
