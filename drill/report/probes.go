package report

import (
	"fmt"
	"slices"

	"github.com/nines-ha/nines/drill/claim"
	"github.com/nines-ha/nines/record"
)

// probes are a line each, in so many lines: what was tried, and who says that it was
// refused, or what came of it in place of that. Those that were not refused come
// first.
func (p page) probes(probes []claim.Probe, room int) []string {
	if room--; len(probes) == 0 || room < 1 {
		return nil
	}
	odd := func(one claim.Probe) int {
		if one.State == record.Refused {
			return 1
		}
		return 0
	}
	sorted := slices.SortedStableFunc(slices.Values(probes), func(a, b claim.Probe) int { return odd(a) - odd(b) })
	shown := len(sorted)
	if shown > room {
		shown = room - 1
	}
	lines := []string{""}
	for _, one := range sorted[:shown] {
		said := one.Proof
		if said == "" {
			said = one.Text
		}
		lines = append(lines, p.row(clean(one.State), clean(one.Name)+": "+clean(said), 1)...)
	}
	if rest := len(sorted) - shown; rest > 0 {
		lines = append(lines, p.row("and", fmt.Sprintf("%d more", rest), 1)...)
	}
	return lines
}
