package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/nines-ha/nines/drill/claim"
	"github.com/nines-ha/nines/internal/wording"
	"github.com/nines-ha/nines/record"
)

var (
	//go:embed assets/report.html
	reportHTML string
	//go:embed assets/report.css
	reportCSS string
	//go:embed assets/report.js
	reportJS string
	//go:embed assets/uPlot.iife.min.js
	uplotJS string
	//go:embed assets/uPlot.min.css
	uplotCSS string
	//go:embed assets/uPlot.LICENSE
	uplotLicence string
)

// sheet is what the page shows.
type sheet struct {
	Policy  string
	Style   template.CSS
	Script  template.JS
	Outcome string
	Title   string
	Place   []string
	Verdict *claim.Verdict
	Numbers []number
	Causes  []claim.Attribution
	Doubts  []string // that the first sentence does not tell
	Writes  string
	Marks   []sheetMark
	Touches []string
	Plot    plot
	Sample  string
	Foot    string
}

type number struct{ Name, Value, Note string }

type sheetMark struct{ Letter, When, Text string }

// HTML writes a page that is whole in itself: it loads nothing and says so to
// the browser, which then runs only this page's own script. Single requests are
// drawn from the record; without one (nil) the plots show the verdict's slices
// of time alone.
func HTML(w io.Writer, v *claim.Verdict, rec *record.Record) error {
	style := "\n" + uplotCSS + "\n" + reportCSS
	script := "\n/*\nuPlot\n\n" + uplotLicence + "*/\n" + uplotJS + "\n" + reportJS
	s := sheet{
		Policy:  "default-src 'none'; style-src " + digest(style) + "; script-src " + digest(script) + "; base-uri 'none'; form-action 'none'",
		Style:   template.CSS(style),
		Script:  template.JS(script),
		Outcome: loud(v.Verdict),
		Title:   title(v),
		Place:   place(v),
		Verdict: v,
		Numbers: numbers(v),
		Causes:  weighty(v.Attribution),
		Doubts:  otherDoubts(v),
		Writes:  writesWords(v),
		Plot:    newPlot(v, rec),
	}
	when := func(at time.Duration) string { return lasting(at - max(v.Fault.At, 0)) }
	for i, m := range v.Marks {
		s.Marks = append(s.Marks, sheetMark{letter(i), when(m.At), clean(m.Text)})
	}
	if p := s.Plot.Points; p.shown < p.of {
		s.Sample = fmt.Sprintf("Of %s, %s are drawn one by one.", wording.Several(p.of, "request", "requests"), wording.Count(p.shown))
	}
	s.Foot = "Times count from the fault. Made by nines from a record of " + v.Started.UTC().Format("2006-01-02 15:04:05 UTC") + "."
	if rec != nil && rec.Header != nil {
		s.Touches = rec.Header.Touches
		s.Foot += fmt.Sprintf(" Version %s, seed %d.", clean(rec.Header.Program), rec.Header.Seed)
	}
	page, err := template.New("report").Funcs(template.FuncMap{"clean": clean, "count": wording.Count, "hop": hopWords, "lasting": lasting, "when": when}).Parse(reportHTML)
	if err == nil {
		err = page.Execute(w, s)
	}
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// digest is how a content security policy names a script or a style.
func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func otherDoubts(v *claim.Verdict) []string {
	var others []string
	for _, d := range v.Doubts {
		if d != v.Because {
			others = append(others, d)
		}
	}
	if n := len(v.Unread); n > 0 {
		others = append(others, fmt.Sprintf("%s not in the record, or not whole: %s", wording.Several(n, "access log of a proxy is", "access logs of proxies are"), v.Unread[0]))
	}
	if spans := "spans may be missing: " + v.Untraced; v.Untraced != "" && !slices.Contains(v.Doubts, spans) {
		others = append(others, spans)
	}
	return others
}

func numbers(v *claim.Verdict) []number {
	r, l := v.Requests, v.Latency
	all := []number{
		{"Available", answered(r), fmt.Sprintf("of %s in the %s after the fault", wording.Several(r.Total, "request", "requests"), lasting(r.Window))},
		{"Failed", wording.Count(r.Failed), fmt.Sprintf("%s in the whole run of %s", wording.Count(r.RunFailed), wording.Count(r.Run))},
		{"Slow", wording.Count(r.Slow), wording.Count(r.RunSlow) + " in the whole run"},
		{"p99", quantile(l, l.P99), fmt.Sprintf("p50 %s · p95 %s · p99.9 %s · max %s", quantile(l, l.P50), quantile(l, l.P95), quantile(l, l.P999), quantile(l, l.Max))},
	}
	if triesAgain(v) {
		f := r.FirstAttempt
		all = slices.Insert(all, 1,
			number{"Available at the first attempt", answeredAtFirst(v), fmt.Sprintf("%s failed, %s of them saved by a retry", wording.Count(f.Failed), wording.Count(f.Saved))},
			number{"Attempts a request", amplified(r), policyWords(v)})
	}
	if t := v.Fault; t.At >= 0 {
		recovered, restored := "until the last request that it cost was over", ""
		switch {
		case t.Recover < 0:
			recovered = "it still cost requests when the window ended"
		case t.Recover == 0:
			recovered = "it cost no request"
		}
		if t.Restored == 0 {
			restored = "none was missing"
		}
		all = append(all,
			number{"Detected after", reached(t.Detect), clean(t.DetectBy)},
			number{"Recovered after", reached(t.Recover), recovered},
			number{"All replicas back after", reached(t.Restored), restored},
			number{"Outage", lasting(t.Outage), fmt.Sprintf("at the full rate · with the clocks of AKS %s", lasting(v.Unmodelled))})
	}
	if b := v.Budget; b.Month > 0 {
		all = append(all, number{"Error budget spent", spent(b.Share), "of a month's " + lasting(b.Month)})
	}
	writes := "not read back"
	if v.Writes.Checked {
		writes = fmt.Sprintf("%s doubled, %s changed of %s acknowledged", wording.Count(v.Writes.Doubled), wording.Count(v.Writes.Changed), wording.Count(v.Writes.Acknowledged))
	}
	return append(all,
		number{"Writes lost", strings.Replace(lost(v), "?", "unknown", 1), writes},
		number{"Stale reads", wording.Count(v.StaleReads), ""})
}
