package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nines-ha/nines/drill/claim"
	"github.com/nines-ha/nines/internal/wording"
)

// A Comparison is two verdicts side by side. Fields are only ever added.
type Comparison struct {
	A     Side     `json:"a"`
	B     Side     `json:"b"`
	Apart []string `json:"apart,omitempty"` // why the two are not of the same thing
	Rows  []Row    `json:"rows"`
}

// A Side says which verdict it is.
type Side struct {
	Drill   string        `json:"drill"`
	Twin    string        `json:"twin,omitempty"`
	System  string        `json:"system"`
	Region  string        `json:"region"`
	Mesh    bool          `json:"mesh"`
	Started time.Time     `json:"started"`
	Verdict claim.Outcome `json:"verdict"`
}

// A Row is one thing of both, as people read it; "" where one side has none.
type Row struct {
	Group   string   `json:"group"` // verdict, claim, number, cause
	Name    string   `json:"name"`
	A       string   `json:"a"`
	B       string   `json:"b"`
	Differs bool     `json:"differs"`
	Change  *float64 `json:"change,omitempty"` // B - A; latencies and times in seconds; none where one has no number
}

// NewComparison puts two verdicts side by side.
func NewComparison(a, b *claim.Verdict) Comparison {
	c := Comparison{A: side(a), B: side(b), Apart: apart(a, b)}
	c.words("verdict", "verdict", string(a.Verdict), string(b.Verdict))
	for _, name := range union(a.Claims, b.Claims, func(c claim.Claim) string { return c.Name }) {
		c.words("claim", name, judged(a.Claims, name), judged(b.Claims, name))
	}
	c.number("available", answered(a.Requests), answered(b.Requests), b.Requests.Availability-a.Requests.Availability)
	if triesAgain(a) || triesAgain(b) {
		failedA, availableA := atFirst(a)
		failedB, availableB := atFirst(b)
		c.number("available at the first attempt", answeredAtFirst(a), answeredAtFirst(b), availableB-availableA)
		c.count("failed at the first attempt", failedA, failedB)
		c.count("saved by a retry", a.Requests.FirstAttempt.Saved, b.Requests.FirstAttempt.Saved)
	}
	c.count("requests", a.Requests.Total, b.Requests.Total)
	c.count("failed", a.Requests.Failed, b.Requests.Failed)
	c.count("slow", a.Requests.Slow, b.Requests.Slow)
	c.count("failed in the whole run", a.Requests.RunFailed, b.Requests.RunFailed)
	c.latency("p50", a.Latency, b.Latency, a.Latency.P50, b.Latency.P50)
	c.latency("p95", a.Latency, b.Latency, a.Latency.P95, b.Latency.P95)
	c.latency("p99", a.Latency, b.Latency, a.Latency.P99, b.Latency.P99)
	c.latency("p99.9", a.Latency, b.Latency, a.Latency.P999, b.Latency.P999)
	c.latency("max", a.Latency, b.Latency, a.Latency.Max, b.Latency.Max)
	c.lasting("detected after", a.Fault.Detect, b.Fault.Detect)
	c.lasting("recovered after", a.Fault.Recover, b.Fault.Recover)
	c.lasting("replicas back after", a.Fault.Restored, b.Fault.Restored)
	c.lasting("outage", a.Fault.Outage, b.Fault.Outage)
	c.lasting("outage with the clocks of AKS", a.Unmodelled, b.Unmodelled)
	c.writes(a, b)
	c.count("stale reads", a.StaleReads, b.StaleReads)
	for _, cause := range union(a.Attribution, b.Attribution, func(a claim.Attribution) string { return a.Cause }) {
		x, y := blamed(a, cause), blamed(b, cause)
		c.add(Row{Group: "cause", Name: cause, A: wording.Count(x), B: wording.Count(y), Change: change(float64(y - x))})
	}
	return c
}

// atFirst is what came of first attempts, which are all there are where nobody
// tries again.
func atFirst(v *claim.Verdict) (failed int, availability float64) {
	if triesAgain(v) {
		return v.Requests.FirstAttempt.Failed, v.Requests.FirstAttempt.Availability
	}
	return v.Requests.Failed, v.Requests.Availability
}

func side(v *claim.Verdict) Side {
	return Side{Drill: v.Drill, Twin: v.Twin, System: v.System, Region: v.Region, Mesh: v.Mesh, Started: v.Started, Verdict: v.Verdict}
}

// apart tells what else differs than the outcome.
func apart(a, b *claim.Verdict) []string {
	var all []string
	for _, of := range []struct{ name, a, b string }{
		{"drills", a.Drill, b.Drill},
		{"systems", a.System, b.System},
		{"regions", a.Region, b.Region},
		{"windows", lasting(a.Requests.Window), lasting(b.Requests.Window)},
	} {
		if of.a != of.b {
			all = append(all, fmt.Sprintf("different %s: %s and %s", of.name, clean(of.a), clean(of.b)))
		}
	}
	if triesAgain(a) != triesAgain(b) {
		all = append(all, "the clients of one try again, those of the other do not")
	}
	if a.Local != b.Local {
		all = append(all, "one is of a local ground, the other is not")
	}
	return all
}

func (c *Comparison) add(r Row) {
	r.Differs = r.A != r.B
	c.Rows = append(c.Rows, r)
}

func (c *Comparison) words(group, name, a, b string) {
	c.add(Row{Group: group, Name: name, A: a, B: b})
}

func (c *Comparison) number(name, a, b string, by float64) {
	c.add(Row{Group: "number", Name: name, A: a, B: b, Change: change(by)})
}

func (c *Comparison) count(name string, a, b int) {
	c.number(name, wording.Count(a), wording.Count(b), float64(b-a))
}

func (c *Comparison) lasting(name string, a, b time.Duration) {
	row := Row{Group: "number", Name: name, A: reached(a), B: reached(b)}
	if a >= 0 && b >= 0 {
		row.Change = change((b - a).Seconds())
	}
	c.add(row)
}

// latency is a quantile of each, of which one without answers has none.
func (c *Comparison) latency(name string, of, and claim.Latency, a, b time.Duration) {
	row := Row{Group: "number", Name: name, A: quantile(of, a), B: quantile(and, b)}
	if of.Max > 0 && and.Max > 0 {
		row.Change = change((b - a).Seconds())
	}
	c.add(row)
}

func (c *Comparison) writes(a, b *claim.Verdict) {
	for _, of := range []struct {
		name string
		a, b int
	}{
		{"writes acknowledged", a.Writes.Acknowledged, b.Writes.Acknowledged},
		{"writes lost", a.Writes.Lost, b.Writes.Lost},
		{"writes doubled", a.Writes.Doubled, b.Writes.Doubled},
		{"writes changed", a.Writes.Changed, b.Writes.Changed},
	} {
		row := Row{Group: "number", Name: of.name, A: wording.Count(of.a), B: wording.Count(of.b), Change: change(float64(of.b - of.a))}
		if !a.Writes.Checked {
			row.A, row.Change = "not read back", nil
		}
		if !b.Writes.Checked {
			row.B, row.Change = "not read back", nil
		}
		c.add(row)
	}
}

func change(by float64) *float64 { return &by }

func judged(claims []claim.Claim, name string) string {
	for _, c := range claims {
		if c.Name == name {
			return fmt.Sprintf("%s: %s", c.Outcome, c.Got)
		}
	}
	return ""
}

func blamed(v *claim.Verdict, cause string) int {
	for _, a := range v.Attribution {
		if a.Cause == cause {
			return a.Count
		}
	}
	return 0
}

func union[T any](a, b []T, name func(T) string) []string {
	var names []string
	for _, one := range slices.Concat(a, b) {
		if n := name(one); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// Compare writes two verdicts side by side; what differs begins with *.
func Compare(w io.Writer, a, b *claim.Verdict) error {
	c := NewComparison(a, b)
	const widest = 56 // columns of a cell
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "\t\tA\tB\n")
	fmt.Fprintf(table, "\tdrill\t%s\t%s\n", title(a), title(b))
	fmt.Fprintf(table, "\tof\t%s\t%s\n", fit(strings.Join(place(a)[:3], ", "), widest), fit(strings.Join(place(b)[:3], ", "), widest))
	fmt.Fprintf(table, "\tstarted\t%s\t%s\n", a.Started.UTC().Format(time.DateTime), b.Started.UTC().Format(time.DateTime))
	for _, r := range c.Rows {
		mark := ""
		if r.Differs {
			mark = "*"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", mark, fit(clean(r.Name), 30), or(fit(clean(r.A), widest), "-"), or(fit(clean(r.B), widest), "-"))
	}
	err := table.Flush()
	if err == nil && len(c.Apart) > 0 {
		_, err = fmt.Fprintln(w, "\nCompare with care: "+strings.Join(c.Apart, "; "))
	}
	if err != nil {
		return fmt.Errorf("write the comparison: %w", err)
	}
	return nil
}
