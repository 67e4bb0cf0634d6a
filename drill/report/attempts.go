package report

import (
	"fmt"
	"strings"

	"github.com/nines-ha/nines/drill/claim"
	"github.com/nines-ha/nines/internal/wording"
)

// triesAgain tells whether clients tried again, so that what came of first
// attempts and of requests in the end are two things.
func triesAgain(v *claim.Verdict) bool { return v.Retry != nil || v.Requests.Attempts > 0 }

// attemptsWords tell both, and what the difference was due to.
func attemptsWords(v *claim.Verdict) string {
	r := v.Requests
	f := r.FirstAttempt
	s := "no request was due in the window"
	if r.Total > 0 {
		s = fmt.Sprintf("availability %s final, %s at the first attempt (%s failed, %s saved by a retry) · %s attempts a request", wording.Share(r.Availability), wording.Share(f.Availability), wording.Count(f.Failed), wording.Count(f.Saved), amplified(r))
	}
	if causes := savedWords(v.Saved); causes != "" {
		s += fmt.Sprintf(" · saved in the whole run %s: %s", wording.Count(f.RunSaved), causes)
	}
	return s
}

func savedWords(saved []claim.Saved) string {
	const most = 3
	var words []string
	for i, one := range saved {
		if i == most {
			words = append(words, fmt.Sprintf("and %s more", wording.Several(len(saved)-most, "cause", "causes")))
			break
		}
		words = append(words, clean(one.Cause)+" "+wording.Count(one.Count))
	}
	return strings.Join(words, ", ")
}

func amplified(r claim.Requests) string { return wording.Decimal(r.Amplification, 3) }

// answeredAtFirst is the availability of first attempts, which are all there are
// where nobody tries again; "-" where no request was due.
func answeredAtFirst(v *claim.Verdict) string {
	if !triesAgain(v) || v.Requests.Total == 0 {
		return answered(v.Requests)
	}
	return wording.Share(v.Requests.FirstAttempt.Availability)
}

// policyWords are what clients were told to do.
func policyWords(v *claim.Verdict) string {
	p := v.Retry
	if p == nil {
		return ""
	}
	s := fmt.Sprintf("at most %s", wording.Several(p.Attempts, "attempt", "attempts"))
	if p.Timeout > 0 {
		s += " of " + lasting(p.Timeout)
	}
	if p.BackoffMax > 0 {
		s += fmt.Sprintf(", %s to %s apart", lasting(p.BackoffMin), lasting(p.BackoffMax))
	}
	if p.Budget > 0 {
		s += fmt.Sprintf(", retries for %s of what is answered well", wording.Share(p.Budget))
	}
	return s
}
