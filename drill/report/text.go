package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/nines-ha/nines/drill/claim"
	"github.com/nines-ha/nines/internal/wording"
)

const (
	screenful   = 40 // lines
	narrowExtra = 16 // lines
	gutter      = 14 // columns of the words on the left
	narrowest   = 40
	wide        = 80 // columns; below it, it may take more lines
	mostClaims  = 10 // rows; beyond that, what held is put in one
	leastWhy    = 4  // lines for the causes
)

// Text writes a verdict for one screen: at most 40 lines, some more if it is
// narrower than 80 columns. Colour adds to the words and never stands alone.
func Text(w io.Writer, v *claim.Verdict, width int, colour bool) error {
	width = max(width, narrowest)
	p := page{width: width, ink: ink(colour)}
	top := append(p.head(v), p.claims(v.Claims)...)
	top = append(top, p.numbers(v)...)
	most := screenful
	if width < wide {
		most += narrowExtra
	}
	bottom := p.timeline(v, leastLegend)
	top = append(top, p.probes(v.Probes, most-len(top)-len(bottom)-leastWhy)...)
	why := p.why(v, most-len(top)-len(bottom))
	if room := most - len(top) - len(why) - len(bottom); room > 0 {
		bottom = p.timeline(v, leastLegend+min(room, 4))
	}
	all := slices.Concat(top, why, bottom)
	_, err := io.WriteString(w, strings.Join(all, "\n")+"\n")
	if err != nil {
		return fmt.Errorf("write the verdict: %w", err)
	}
	return nil
}

// page is what the lines are made for.
type page struct {
	width int
	ink   ink
}

func (p page) head(v *claim.Verdict) []string {
	word := loud(v.Verdict)
	about := " " + strings.Join(append([]string{title(v)}, place(v)...), " · ")
	lines := []string{p.ink.outcome(v.Verdict, word) + fit(about, p.width-len([]rune(word)))}
	lines = append(lines, wrap(clean(v.Because), p.width, 3)...)
	return append(lines, "")
}

// claims are rows: the outcome, the name, what was promised, what came of it.
func (p page) claims(claims []claim.Claim) []string {
	if len(claims) == 0 {
		return nil
	}
	rows, rest := choose(claims)
	name, want := 4, 8
	for _, c := range rows {
		name, want = max(name, len([]rune(c.Name))), max(want, len([]rune(c.Want)))
	}
	name = min(name, 16)
	want = min(want, (p.width-gutter-name-4)*35/100)
	var lines []string
	for _, c := range rows {
		outcome := p.ink.outcome(c.Outcome, pad(clean(string(c.Outcome)), gutter))
		got := p.width - gutter - name - want - 4
		lines = append(lines, strings.TrimRight(outcome+pad(clean(c.Name), name)+"  "+pad(clean(c.Want), want)+"  "+fit(clean(c.Got), got), " "))
	}
	if len(rest) > 0 {
		outcome := p.ink.outcome(rest[0].Outcome, pad(clean(string(rest[0].Outcome)), gutter))
		lines = append(lines, outcome+wording.Several(len(rest), "more claim", "more claims"))
	}
	return append(lines, "")
}

// choose takes as many claims as there may be rows: those that did not hold
// first. The rest begins with its worst.
func choose(claims []claim.Claim) (rows, rest []claim.Claim) {
	if len(claims) <= mostClaims {
		return claims, nil
	}
	worst := slices.SortedStableFunc(slices.Values(claims), func(a, b claim.Claim) int { return severity(a) - severity(b) })
	return worst[:mostClaims-1], worst[mostClaims-1:]
}

func severity(c claim.Claim) int {
	switch c.Outcome {
	case claim.Refuted:
		return 0
	case claim.Held:
		return 2
	}
	return 1
}

// row is a line with its word on the left; long ones go on below it.
func (p page) row(word, text string, most int) []string {
	if p.width < wide {
		most++
	}
	lines := wrap(text, p.width-gutter, most)
	for i := range lines {
		lines[i] = p.ink.dim(pad(word, gutter)) + lines[i]
		word = ""
	}
	return lines
}

func (p page) numbers(v *claim.Verdict) []string {
	lines := p.row("requests", requestsWords(v.Requests), 2)
	if triesAgain(v) {
		lines = append(lines, p.row("attempts", attemptsWords(v), 2)...)
	}
	lines = append(lines, p.row("latency", latencyWords(v.Latency), 1)...)
	if worst := worstWords(v.Worst); worst != "" {
		lines = append(lines, p.row("worst", worst, 1)...)
	}
	lines = append(lines, p.row("fault", faultWords(v), 2)...)
	if v.Fault.At >= 0 {
		lines = append(lines, p.row("outage", outageWords(v), 2)...)
	}
	lines = append(lines, p.row("writes", writesWords(v), 2)...)
	if clocks := clockWords(v.Clocks); clocks != "" {
		lines = append(lines, p.row("clocks", clocks, 2)...)
	}
	return lines
}

func requestsWords(r claim.Requests) string {
	s := "none was due in the window"
	if r.Total > 0 {
		s = fmt.Sprintf("%s in the %s after the fault: %s failed, %s slow, %s available", wording.Count(r.Total), lasting(r.Window), wording.Count(r.Failed), wording.Count(r.Slow), wording.Share(r.Availability))
	}
	return s + fmt.Sprintf(" · whole run: %s failed, %s slow of %s", wording.Count(r.RunFailed), wording.Count(r.RunSlow), wording.Count(r.Run))
}

func latencyWords(l claim.Latency) string {
	if l.Max == 0 {
		return "no request was answered well"
	}
	return fmt.Sprintf("p50 %s · p95 %s · p99 %s · p99.9 %s · max %s", lasting(l.P50), lasting(l.P95), lasting(l.P99), lasting(l.P999), lasting(l.Max))
}

// worstWords names a few: the JSON and the report in HTML have them all.
func worstWords(worst []claim.Case) string {
	const most = 3
	var words []string
	for _, c := range worst[:min(len(worst), most)] {
		word := fmt.Sprintf("%s %s %s", clean(c.ID), lasting(c.Latency), clean(c.Result))
		if c.Attempts > 1 {
			word += fmt.Sprintf(" at attempt %d", c.Attempts)
		}
		words = append(words, word)
	}
	return strings.Join(words, " · ")
}

func faultWords(v *claim.Verdict) string {
	t := v.Fault
	if t.At < 0 {
		return "none was made"
	}
	detected := "never detected"
	if t.Detect >= 0 {
		detected = "detected after " + lasting(t.Detect)
		if t.DetectBy != "" {
			detected += " (" + clean(t.DetectBy) + ")"
		}
	}
	recovered := "recovered after " + lasting(t.Recover)
	switch {
	case t.Recover < 0:
		recovered = "not recovered in the window"
	case t.Recover == 0:
		recovered = "cost no request"
	}
	restored := "all replicas back after " + lasting(t.Restored)
	switch {
	case t.Restored < 0:
		restored = "replicas never all back"
	case t.Restored == 0:
		restored = "no replica missing"
	}
	return detected + " · " + recovered + " · " + restored
}

func outageWords(v *claim.Verdict) string {
	s := lasting(v.Fault.Outage) + " at the full rate"
	if v.Budget.Month > 0 {
		s += fmt.Sprintf(": %s of a month's budget of %s", spent(v.Budget.Share), lasting(v.Budget.Month))
	}
	return s + " · with the clocks of AKS " + lasting(v.Unmodelled)
}

func writesWords(v *claim.Verdict) string {
	w := v.Writes
	if !w.Checked {
		return "not read back"
	}
	s := fmt.Sprintf("%s lost, %s doubled, %s changed of %s acknowledged", wording.Count(w.Lost), wording.Count(w.Doubled), wording.Count(w.Changed), wording.Count(w.Acknowledged))
	if w.Unknown > 0 {
		s += fmt.Sprintf(" · %s of %s unknown stored", wording.Count(w.Kept), wording.Count(w.Unknown))
	}
	if w.Strange > 0 {
		s += fmt.Sprintf(" · %s never sent", wording.Count(w.Strange))
	}
	return s + " · " + wording.Several(v.StaleReads, "stale read", "stale reads")
}

func clockWords(clocks []claim.Clock) string {
	var words []string
	for _, c := range clocks {
		words = append(words, fmt.Sprintf("%s %s (AKS %s)", clean(c.Name), lasting(c.Here), lasting(c.AKS)))
	}
	return strings.Join(words, " · ")
}

// ink colours, or does not.
type ink bool

func (i ink) paint(code, s string) string {
	if !i || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (i ink) dim(s string) string { return i.paint("2", s) }
func (i ink) red(s string) string { return i.paint("31", s) }

func (i ink) outcome(o claim.Outcome, s string) string {
	switch o {
	case claim.Held:
		return i.paint("1;32", s)
	case claim.Refuted:
		return i.paint("1;31", s)
	default:
		return i.paint("1;33", s)
	}
}
