package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/nines-ha/nines/drill/claim"
	"github.com/nines-ha/nines/internal/wording"
)

type junitSuites struct {
	XMLName  xml.Name `xml:"testsuites"`
	Name     string   `xml:"name,attr"`
	Tests    int      `xml:"tests,attr"`
	Failures int      `xml:"failures,attr"`
	Errors   int      `xml:"errors,attr"`
	Suite    junitSuite
}

type junitSuite struct {
	XMLName   xml.Name    `xml:"testsuite"`
	Name      string      `xml:"name,attr"`
	Tests     int         `xml:"tests,attr"`
	Failures  int         `xml:"failures,attr"`
	Errors    int         `xml:"errors,attr"`
	Skipped   int         `xml:"skipped,attr"`
	Time      string      `xml:"time,attr"` // seconds
	Timestamp string      `xml:"timestamp,attr,omitempty"`
	Cases     []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitTrouble `xml:"failure"`
	Error   *junitTrouble `xml:"error"`
	Skipped *junitTrouble `xml:"skipped"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitTrouble struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// Untold is what JUnit XML has a case of and no single verdict tells: a drill that
// was left out or failed, or a proof, which is two.
type Untold struct {
	Name, Why string
	Kind      Kind
}

// Kind is what became of what is Untold.
type Kind int

const (
	Trouble   Kind = iota // it could not be run to its end
	LeftOut               // it is impossible here
	Proven                // a twin was told from the system as it is
	NotProven             // it was not
)

// JUnit writes JUnit XML: one suite, a case a verdict, and one for each of the
// others. What is refuted is a failure, what is inconclusive an error. The time of
// a case is its window.
func JUnit(w io.Writer, vs []*claim.Verdict, others ...Untold) error {
	suite := junitSuite{Name: "nines drill", Tests: len(vs) + len(others)}
	seconds := 0.0
	times := map[string]int{}
	for i, v := range vs {
		if at := v.Started.UTC(); i == 0 && !at.IsZero() {
			suite.Timestamp = at.Format("2006-01-02T15:04:05")
		}
		seconds += v.Requests.Window.Seconds()
		c, err := newJUnitCase(v)
		if err != nil {
			return err
		}
		if times[c.Name]++; times[c.Name] > 1 {
			c.Name += fmt.Sprintf(" (run %d)", times[c.Name])
		}
		suite.add(c)
	}
	for _, o := range others {
		c := junitCase{Name: clean(o.Name), Class: "nines", Time: "0.000"}
		trouble := &junitTrouble{Message: clean(o.Why)}
		switch o.Kind {
		case LeftOut:
			c.Skipped = trouble
		case Proven:
			c.Out = clean(o.Why)
		case NotProven:
			c.Failure = trouble
		default:
			c.Error = trouble
		}
		suite.add(c)
	}
	suite.Time = fmt.Sprintf("%.3f", seconds)
	root := junitSuites{Name: suite.Name, Tests: suite.Tests, Failures: suite.Failures, Errors: suite.Errors, Suite: suite}
	text, err := xml.MarshalIndent(root, "", "  ")
	if err == nil {
		_, err = io.WriteString(w, xml.Header+string(text)+"\n")
	}
	if err != nil {
		return fmt.Errorf("write JUnit XML: %w", err)
	}
	return nil
}

func (s *junitSuite) add(c junitCase) {
	switch {
	case c.Failure != nil:
		s.Failures++
	case c.Error != nil:
		s.Errors++
	case c.Skipped != nil:
		s.Skipped++
	}
	s.Cases = append(s.Cases, c)
}

func newJUnitCase(v *claim.Verdict) (junitCase, error) {
	var screen strings.Builder
	if err := Text(&screen, v, 100, false); err != nil {
		return junitCase{}, err
	}
	c := junitCase{Name: title(v), Class: "nines." + clean(v.System) + "." + clean(v.Region), Time: fmt.Sprintf("%.3f", v.Requests.Window.Seconds()), Out: screen.String()}
	trouble := &junitTrouble{Message: clean(v.Because), Type: clean(string(v.Verdict)), Text: troubles(v)}
	switch v.Verdict {
	case claim.Held:
	case claim.Refuted:
		c.Failure = trouble
	default:
		c.Error = trouble
	}
	return c, nil
}

// troubles are the claims that did not hold, the causes and the doubts.
func troubles(v *claim.Verdict) string {
	var lines []string
	for _, c := range v.Claims {
		if c.Outcome != claim.Held {
			lines = append(lines, fmt.Sprintf("%s: %s: promised %s, got %s", clean(string(c.Outcome)), clean(c.Name), clean(c.Want), clean(c.Got)))
		}
	}
	if triesAgain(v) {
		lines = append(lines, attemptsWords(v))
	}
	for _, a := range v.Attribution {
		lines = append(lines, fmt.Sprintf("%s: %s: %s", wording.Count(a.Count), clean(a.Cause), clean(a.Text)))
		for _, e := range a.Evidence {
			lines = append(lines, "  "+clean(e))
		}
	}
	for _, d := range v.Doubts {
		lines = append(lines, "doubt: "+clean(d))
	}
	for _, f := range v.Fixes {
		lines = append(lines, "fix: "+advice(f))
	}
	return strings.Join(lines, "\n")
}
