package twin

import (
	"strings"
	"testing"

	"github.com/nines-ha/nines/drill/claim"
)

func verdict(overall, outcome claim.Outcome, causes ...claim.Attribution) *claim.Verdict {
	return &claim.Verdict{
		Verdict: overall, Because: "BECAUSE", Attribution: causes,
		Claims: []claim.Claim{{Name: "p99", Outcome: claim.Held}, {Name: "failed", Want: "≤ 0", Got: "GOT", Outcome: outcome}},
	}
}

func TestProven(t *testing.T) {
	ended := claim.Attribution{Cause: claim.PodEnded, Failed: 7}
	slow := claim.Attribution{Cause: claim.Starved, Slow: 70}
	other := claim.Attribution{Cause: claim.BalancerUnaware, Failed: 8}
	equal := claim.Attribution{Cause: claim.ConnectionReset, Failed: 7}
	held := verdict(claim.Held, claim.Held)
	refuted := verdict(claim.Refuted, claim.Refuted, ended)
	for name, c := range map[string]struct {
		cause, claim string
		good, bad    *claim.Verdict
		want         bool
		why          string
	}{
		"held and refuted":               {claim.PodEnded, "failed", held, refuted, true, "pod-ended with 7 failed"},
		"slow ones do not count":         {claim.PodEnded, "failed", held, verdict(claim.Refuted, claim.Refuted, slow, ended), true, ""},
		"beside an equal":                {claim.PodEnded, "failed", held, verdict(claim.Refuted, claim.Refuted, equal, ended), false, "not for its own reason: reset and pod-ended"},
		"any cause will do":              {"", "failed", held, verdict(claim.Refuted, claim.Refuted, other), true, "GOT"},
		"another cause leads":            {claim.PodEnded, "failed", held, verdict(claim.Refuted, claim.Refuted, other, ended), false, "not for its own reason: balancer-unaware with 8"},
		"nothing failed":                 {claim.PodEnded, "failed", held, verdict(claim.Refuted, claim.Refuted, slow), false, "no request failed"},
		"the good one is refuted else":   {claim.PodEnded, "failed", verdict(claim.Refuted, claim.Held), refuted, true, "refuted all the same, for another reason: BECAUSE"},
		"the good one is refuted for it": {claim.PodEnded, "failed", refuted, refuted, false, "where it must hold"},
		"the good one proves nothing":    {claim.PodEnded, "failed", verdict(claim.Inconclusive, claim.Held), refuted, false, "inconclusive: BECAUSE"},
		"the twin proves nothing":        {claim.PodEnded, "failed", held, verdict(claim.Inconclusive, claim.Refuted, ended), false, "inconclusive: BECAUSE"},
		"the twin holds":                 {claim.PodEnded, "failed", held, held, false, "must be refuted"},
		"refuted for another claim":      {claim.PodEnded, "p99", held, refuted, false, "p99 is held for the twin"},
		"no such claim":                  {claim.PodEnded, "capacity", held, refuted, false, `no claim "capacity"`},
	} {
		twin := Twin{Name: "x", Drill: "rolling-restart", Claim: c.claim, Cause: c.cause}
		got, why := twin.Proven(c.good, c.bad)
		if got != c.want || !strings.Contains(why, c.why) || why == "" {
			t.Errorf("%s: %v, %q; want %v, %q", name, got, why, c.want, c.why)
		}
	}
}

// A twin whose mistake has a field must be told by that field.
func TestProvenByItsFix(t *testing.T) {
	twin := Twin{Drill: "node-loss", Claim: "restored", Fix: "regions."}
	of := func(o claim.Outcome, fixes ...claim.Fix) *claim.Verdict {
		return &claim.Verdict{Verdict: o, Claims: []claim.Claim{{Name: "restored", Outcome: o}}, Fixes: fixes}
	}
	for field, want := range map[string]bool{"regions.eu.nodes": true, "services.vehicle.probes.start": false, "": false} {
		proven, why := twin.Proven(of(claim.Held), of(claim.Refuted, claim.Fix{Field: field, Change: "more"}))
		if proven != want || !want && !strings.Contains(why, "no change of regions") {
			t.Errorf("with the fix %q: %t, %q", field, proven, why)
		}
	}
}
