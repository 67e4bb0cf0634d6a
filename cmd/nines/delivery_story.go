package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/nines-ha/nines/deliver"
)

// deliveryStory tells how a release goes: a line for each thing that changes, the
// same on a terminal and in a log, and with --json a line of JSON for it as well.
type deliveryStory struct {
	w     io.Writer
	lines io.Writer // of JSON; nil: none
	began time.Time
	since func(time.Time) time.Duration
}

func newDeliveryStory(w io.Writer) *deliveryStory {
	return &deliveryStory{w: w, began: time.Now(), since: time.Since}
}

// deliveryLine is one line of "deploy --json"; one of the fields is there.
type deliveryLine struct {
	Commit  *deliveryCommit  `json:"commit,omitempty"`
	Event   *deliver.Event   `json:"event,omitempty"`
	Verdict *deliver.Verdict `json:"verdict,omitempty"`
}

type deliveryCommit struct {
	Hash     string   `json:"hash"`
	Subject  string   `json:"subject"`
	Author   string   `json:"author"`
	Image    string   `json:"image"`
	Previous string   `json:"previous"`
	Version  string   `json:"version,omitempty"`
	Regions  []string `json:"regions"`
	Undoes   []string `json:"undoes,omitempty"`
	Files    []string `json:"files"`
}

func (s *deliveryStory) print(l deliveryLine) {
	if s.lines != nil {
		_ = json.NewEncoder(s.lines).Encode(l)
	}
}

func (s *deliveryStory) say(format string, args ...any) {
	fmt.Fprintf(s.w, "%6.1fs  %s\n", s.since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

func (s *deliveryStory) commit(d deliver.Deployment) {
	s.print(deliveryLine{Commit: &deliveryCommit{
		Hash: d.Hash, Subject: d.Subject, Author: d.Author, Image: d.Image, Previous: d.Previous,
		Version: d.Version, Regions: d.Regions, Undoes: d.Undoes, Files: d.Files,
	}})
	s.say("commit %s is in Git: %s", deliver.Short(d.Hash), d.Subject)
	for _, f := range d.Files[:min(len(d.Files), 10)] {
		s.say("  %s", f)
	}
	if more := len(d.Files) - 10; more > 0 {
		s.say("  and %d files more", more)
	}
}

func (s *deliveryStory) event(e deliver.Event) {
	s.print(deliveryLine{Event: &e})
	switch {
	case e.Sync != nil:
		s.say("%s: %s", e.Region, syncLine(*e.Sync))
		for _, refused := range e.Sync.Refused {
			s.say("%s:   refused: %s", e.Region, refused)
		}
	case e.Rollout != nil:
		s.say("%s: %s", e.Region, rolloutLine(*e.Rollout))
	case e.Metric != nil:
		s.say("%s:   %s", e.Region, metricLine(*e.Metric))
	case e.Trouble != "":
		s.say("%s: out of sight: %s", e.Region, e.Trouble)
	default:
		s.say("%s: in sight again", e.Region)
	}
}

func syncLine(s deliver.Sync) string {
	text := fmt.Sprintf("Argo CD is at %s, %s, %s", deliver.Short(s.Revision), s.Status, s.Health)
	if s.Error != "" {
		return text + ": " + s.Error
	}
	if s.Operation != "" && s.Operation != "Succeeded" {
		text += fmt.Sprintf("; sync of %s is %s", deliver.Short(s.Syncing), strings.ToLower(s.Operation))
		if s.Retries > 0 {
			text += fmt.Sprintf(" (retry %d)", s.Retries)
		}
		if s.Message != "" {
			text += ": " + s.Message
		}
	}
	return text
}

func rolloutLine(r deliver.Rollout) string {
	var b strings.Builder
	b.WriteString(strings.ToLower(r.Phase))
	if r.Aborted {
		b.WriteString(", aborted")
	}
	if r.Steps > 0 {
		fmt.Fprintf(&b, ", step %d of %d, weight %d %%", r.Step, r.Steps, r.Weight)
	}
	if r.Canary.Wanted > 0 {
		fmt.Fprintf(&b, "; canary %d of %d pods ready", r.Canary.Ready, r.Canary.Wanted)
		if r.Canary.Why != "" {
			b.WriteString(" (" + r.Canary.Why + ")")
		}
	}
	fmt.Fprintf(&b, "; stable %d of %d pods ready", r.Stable.Ready, r.Stable.Wanted)
	switch {
	case r.Inconclusive():
		b.WriteString("; waits: the analysis could not tell")
	// Steps tell more than that they are not over.
	case r.Message != "" && r.Message != r.Paused && r.Message != "waiting for all steps to complete":
		b.WriteString("; " + r.Message)
	}
	return b.String()
}

func metricLine(m deliver.Metric) string {
	text := fmt.Sprintf("%s %s, %s", m.Name, measured(m.Value), strings.ToLower(m.Phase))
	text += fmt.Sprintf(" (%d measured", m.Count)
	for _, n := range []struct {
		count int
		what  string
	}{{m.Failed, "failed"}, {m.Unsure, "inconclusive"}, {m.Errors, "without an answer"}} {
		if n.count > 0 {
			text += fmt.Sprintf(", %d %s", n.count, n.what)
		}
	}
	text += ")"
	if m.Message != "" && m.Phase != "Successful" {
		text += ": " + m.Message
	}
	return text
}

// measured is a value, or those of canary and stable, as people read it. Where there
// is one of two, the canary has none: too few have asked it. What is no number stays
// as it is.
func measured(value string) string {
	var numbers []float64
	if json.Unmarshal([]byte(value), &numbers) != nil {
		var one float64
		if json.Unmarshal([]byte(value), &one) != nil {
			return cmp.Or(value, "no value")
		}
		numbers = []float64{one}
	}
	if len(numbers) == 0 {
		return "no value"
	}
	var words []string
	if len(numbers) == 1 && strings.HasPrefix(strings.TrimSpace(value), "[") {
		words = append(words, "–")
	}
	for _, n := range numbers {
		words = append(words, strconv.FormatFloat(n, 'g', 4, 64))
	}
	return strings.Join(words, " | ")
}

// verdict is the last of the story; what can be done about it comes with it.
func (s *deliveryStory) verdict(v deliver.Verdict) {
	s.print(deliveryLine{Verdict: &v})
	where := ""
	if v.Region != "" {
		where = " in " + v.Region
	}
	fmt.Fprintf(s.w, "%s %s%s after %.1f s: %s\n", strings.ToUpper(string(v.Outcome)), v.Service, where, v.Took.Seconds(), v.Because)
	if len(v.Waiting) > 0 {
		fmt.Fprintf(s.w, "not touched: %s\n", strings.Join(v.Waiting, ", "))
	}
	switch v.Outcome {
	case deliver.Aborted:
		fmt.Fprintf(s.w, "Git still holds %s (commit %s); any change to it would try that again\n", deliver.ShortImage(v.Image), deliver.Short(v.Revision))
		fmt.Fprintf(s.w, "take it back with: nines rollback %s\n", v.Service)
	case deliver.Refused:
		if v.Revision != "" {
			fmt.Fprintf(s.w, "Git holds commit %s, the cluster what it had; take it back with: nines rollback %s\n", deliver.Short(v.Revision), v.Service)
		}
	case deliver.TimedOut, deliver.Interrupted:
		if v.Revision == "" {
			break
		}
		fmt.Fprintf(s.w, "it is in Git (commit %s) and goes on without this command\n", deliver.Short(v.Revision))
		fmt.Fprintf(s.w, "follow it again with: nines deploy --follow %s\n", v.Service)
		if len(v.Waiting) > 0 {
			fmt.Fprintf(s.w, "deploy the same again to go on with %s\n", strings.Join(v.Waiting, ", "))
		}
	}
}
