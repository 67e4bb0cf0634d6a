package twin

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nines-ha/nines/drill/claim"
)

// Proven says whether a drill told the twin from the system as it is: the claim
// held there and was refuted here, and the twin's own cause explains more of the
// failures than any other does. The system as it is may have been refuted for
// something else, which plain Kubernetes cannot prevent; why says so then. A
// verdict that is inconclusive proves nothing.
func (t Twin) Proven(good, bad *claim.Verdict) (proven bool, why string) {
	right, wrong := outcome(good, t.Claim), outcome(bad, t.Claim)
	switch {
	case good.Verdict == claim.Inconclusive:
		return false, "the drill of the system as it is is inconclusive: " + good.Because
	case bad.Verdict == claim.Inconclusive:
		return false, "the drill of the twin is inconclusive: " + bad.Because
	case right == nil || wrong == nil:
		return false, fmt.Sprintf("%s made no claim %q; both must be judged by the promise for the system as it is", t.Drill, t.Claim)
	case right.Outcome != claim.Held:
		return false, fmt.Sprintf("%s is %s for the system as it is, where it must hold: %s, and %s is wanted", t.Claim, right.Outcome, right.Got, right.Want)
	case wrong.Outcome != claim.Refuted || bad.Verdict != claim.Refuted:
		return false, fmt.Sprintf("%s is %s for the twin, and must be refuted: %s, and %s is wanted", t.Claim, wrong.Outcome, wrong.Got, wrong.Want)
	}
	led, ok := t.leads(bad.Attribution)
	if !ok {
		return false, fmt.Sprintf("%s is refuted for the twin, but not for its own reason: %s, and %s should lead", t.Claim, led, t.Cause)
	}
	if t.Fix != "" && !slices.ContainsFunc(bad.Fixes, func(f claim.Fix) bool { return strings.HasPrefix(f.Field, t.Fix) }) {
		return false, fmt.Sprintf("%s is refuted for the twin (%s), but no change of %s is named that would help", t.Claim, wrong.Got, strings.TrimSuffix(t.Fix, "."))
	}
	why = fmt.Sprintf("%s holds for the system as it is (%s) and is refuted for the twin (%s)", t.Claim, right.Got, wrong.Got)
	if t.Cause != "" {
		why += ", " + led
	}
	if good.Verdict != claim.Held {
		why += fmt.Sprintf("; the system as it is is %s all the same, for another reason: %s", good.Verdict, good.Because)
	}
	return true, why
}

func outcome(v *claim.Verdict, name string) *claim.Claim {
	if i := slices.IndexFunc(v.Claims, func(c claim.Claim) bool { return c.Name == name }); i >= 0 {
		return &v.Claims[i]
	}
	return nil
}

// leads says whether the twin's own cause has more failures than any other, and
// which has most.
func (t Twin) leads(list []claim.Attribution) (led string, ok bool) {
	if t.Cause == "" {
		return "", true
	}
	most, own := 0, 0
	var first []string
	for _, a := range list {
		if a.Cause == t.Cause {
			own = a.Failed
		}
		switch {
		case a.Failed > most:
			most, first = a.Failed, []string{a.Cause}
		case a.Failed == most && most > 0:
			first = append(first, a.Cause)
		}
	}
	if most == 0 {
		return "no request failed", false
	}
	return fmt.Sprintf("%s with %d failed requests", strings.Join(first, " and "), most), own == most && len(first) == 1
}
