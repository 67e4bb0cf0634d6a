package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/ground/part"
)

// story tells on standard error how a start goes, from one status to the next:
// a line for each engine that is compiled and each part that becomes ready, and
// every few seconds what everybody waits for. The same text on a terminal and in
// a log.
type story struct {
	w       io.Writer
	began   time.Time
	engines map[string]string
	parts   map[string]part.State
	quiet   time.Time // when something was last said
}

func newStory(w io.Writer) *story {
	return &story{w: w, began: time.Now(), engines: map[string]string{}, parts: map[string]part.State{}, quiet: time.Now()}
}

const (
	storyEvery = 200 * time.Millisecond
	storyAloud = 10 * time.Second // the longest silence
)

// follow tells until everything is ready; its error says that it will not be.
func (s *story) follow(ctx context.Context, status func(context.Context) (ground.Status, error)) error {
	tick := time.NewTicker(storyEvery)
	defer tick.Stop()
	for {
		now, err := status(ctx)
		if err == nil {
			s.tell(now)
			if now.Ready {
				return nil
			}
			if now.Phase == "failed" || now.Phase == "stopping" {
				return errors.New(now.Failure)
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func (s *story) say(format string, args ...any) {
	s.quiet = time.Now()
	fmt.Fprintf(s.w, "%6.1fs  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

func (s *story) tell(now ground.Status) {
	loud := time.Since(s.quiet) > storyAloud
	for _, e := range now.Engines {
		text := e.Phase
		if e.Total > 0 && e.Phase == "compiling" {
			text = fmt.Sprintf("compiling, %d of %d packages", e.Done, e.Total)
		}
		changed := s.engines[e.Name] != e.Phase
		s.engines[e.Name] = e.Phase
		switch {
		case e.Phase == "cached":
		case e.Phase == "built" && changed:
			s.say("engine %s built in %.0f s", e.Name, e.Elapsed)
		case changed || (loud && e.Phase != "built"):
			s.say("engine %s: %s (%.0f s)", e.Name, text, e.Elapsed)
		}
	}
	var waiting []string
	for _, p := range now.Parts {
		was := s.parts[p.Name]
		s.parts[p.Name] = p.State
		if p.State == part.Starting {
			if p.Waits != "" && loud {
				s.say("waiting for %s: %s", p.Name, oneLine(p.Waits))
			} else {
				waiting = append(waiting, p.Name)
			}
		}
		if p.State == was || p.State == part.Waiting || p.State == part.Starting || p.State == part.Stopped {
			continue
		}
		s.say("%s %s", p.Name, p.State)
	}
	if loud && len(waiting) > 0 && time.Since(s.quiet) > storyAloud {
		s.say("waiting for %s", join(waiting))
	}
}

func oneLine(text string) string { return strings.ReplaceAll(text, "\n", "; ") }

func join(names []string) string {
	if len(names) > 5 {
		return fmt.Sprintf("%s and %d more", join(names[:5]), len(names)-5)
	}
	text := ""
	for i, n := range names {
		if i > 0 {
			text += ", "
		}
		text += n
	}
	return text
}
