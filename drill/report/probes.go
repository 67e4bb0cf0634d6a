package report

import "github.com/nines-ha/nines/drill/claim"

// probes are a line each, in so many lines: what was tried, and who says that it was
// refused, or what came of it in place of that.
func (p page) probes(probes []claim.Probe, room int) []string {
	lines := []string{""}
	for _, one := range probes[:max(0, min(len(probes), room-1))] {
		said := one.Proof
		if said == "" {
			said = one.Text
		}
		lines = append(lines, p.row(clean(one.State), clean(one.Name)+": "+clean(said), 1)...)
	}
	if len(lines) == 1 {
		return nil
	}
	return lines
}
