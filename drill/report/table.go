package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/nines-ha/nines/drill/claim"
	"github.com/nines-ha/nines/internal/wording"
)

// Table writes one row a verdict, as a suite shows its drills. What was available at
// the first attempt has a column if anybody tried again.
func Table(w io.Writer, vs []*claim.Verdict) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	const first = 4 // the column
	again := slices.ContainsFunc(vs, triesAgain)
	row := func(cells ...string) {
		if !again {
			cells = slices.Delete(cells, first, first+1)
		}
		fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	row("DRILL", "TWIN", "VERDICT", "AVAILABLE", "AT FIRST", "FAILED", "P99", "RECOVER", "LOST", "MAIN CAUSE")
	for _, v := range vs {
		row(clean(v.Drill), or(clean(v.Twin), "-"), clean(string(v.Verdict)), answered(v.Requests), answeredAtFirst(v), wording.Count(v.Requests.Failed),
			quantile(v.Latency, v.Latency.P99), recovered(v), lost(v), or(mainCause(v), "-"))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// recovered is how long the fault cost requests.
func recovered(v *claim.Verdict) string {
	if v.Fault.At < 0 {
		return "-"
	}
	return reached(v.Fault.Recover)
}

func lost(v *claim.Verdict) string {
	if !v.Writes.Checked {
		return "?"
	}
	return wording.Count(v.Writes.Lost)
}
