// Package report shows verdicts: Text on a screen, HTML in a browser, Table for
// many, Compare for two, JUnit for continuous integration. It judges nothing and
// asks nobody: what it shows is in the verdict, and for the plots of HTML in the
// record. Texts in both may come from a system under test and are shown as text.
package report

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/nines-ha/nines/drill/claim"
	"github.com/nines-ha/nines/internal/wording"
)

// title names the drill and the mistake that was in force.
func title(v *claim.Verdict) string {
	if v.Twin == "" {
		return clean(v.Drill)
	}
	return clean(v.Drill) + " with " + clean(v.Twin)
}

// place tells what was drilled and how real it is.
func place(v *claim.Verdict) []string {
	where := "not a local ground"
	if v.Local {
		where = "local"
	}
	mesh := "no mesh"
	if v.Mesh {
		mesh = "mesh"
	}
	return []string{clean(v.System + " in " + v.Region), where, mesh, v.Started.UTC().Format("2006-01-02 15:04 UTC")}
}

func loud(o claim.Outcome) string { return strings.ToUpper(clean(string(o))) }

// mainCause is the weightiest, "" if nothing failed or was slow.
func mainCause(v *claim.Verdict) string {
	if len(v.Attribution) == 0 {
		return ""
	}
	return clean(weighty(v.Attribution)[0].Cause)
}

// weighty puts causes first that made most requests fail, not just slow.
func weighty(causes []claim.Attribution) []claim.Attribution {
	return slices.SortedStableFunc(slices.Values(causes), func(a, b claim.Attribution) int {
		return cmp.Or(b.Failed-a.Failed, b.Slow-a.Slow)
	})
}

// answered is the availability in the window, "-" where no request was due.
func answered(r claim.Requests) string {
	if r.Total == 0 {
		return "-"
	}
	return wording.Share(r.Availability)
}

// quantile is a latency, "-" where no request was answered well.
func quantile(l claim.Latency, d time.Duration) string {
	if l.Max == 0 {
		return "-"
	}
	return lasting(d)
}
