package report

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nines-ha/nines/drill/claim"
	"github.com/nines-ha/nines/record"
)

// account is a small record with one request of each kind.
func account() *record.Record {
	at := func(s float64) time.Duration { return time.Duration(s * float64(second)) }
	return &record.Record{
		Header: &record.Header{
			Version: record.Version, Program: "0.1.0", Drill: "zone-loss", Seed: 7, Touches: []string{"cut the power of node westeurope-1-1"},
			Load: record.Load{Rate: 1}, Window: record.Window{Length: 30 * second}, Promise: record.Promise{Availability: 0.999, P99: 300 * time.Millisecond, Slow: 300 * time.Millisecond},
		},
		Phases: []record.Phase{{At: at(20), Name: record.Inject}, {At: at(20.1), Name: record.Injected}, {At: at(45), Name: record.Heal}, {At: at(46), Name: record.Healed}},
		Requests: []record.Request{
			{ID: "a", Scheduled: at(21), Taken: at(21), Done: at(21.004), Status: 200},
			{ID: "b", Scheduled: at(22), Taken: at(22), Done: at(22.5), Status: 200},
			{ID: "c", Scheduled: at(23), Taken: at(23), Done: at(26), Error: record.ConnectTimeout},
			{ID: "d", Scheduled: at(24), Taken: at(24), Done: at(24.002), Status: 503},
			{ID: "e", Scheduled: at(25), Taken: at(25), Done: at(25.001), Status: 304},
		},
		End: &record.End{At: at(60), ReadBack: true},
	}
}

func htmlOf(t *testing.T, v *claim.Verdict, rec *record.Record) string {
	t.Helper()
	var b strings.Builder
	if err := HTML(&b, v, rec); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var (
	styles  = regexp.MustCompile(`(?s)<style>(.*?)</style>`)
	scripts = regexp.MustCompile(`(?s)<script>(.*?)</script>`)
	policy  = regexp.MustCompile(`http-equiv="Content-Security-Policy" content="([^"]*)"`)
)

func TestHTML(t *testing.T) {
	for name, v := range verdicts() {
		got := htmlOf(t, v, account())
		got = styles.ReplaceAllString(got, "<style>…</style>")
		got = scripts.ReplaceAllString(got, "<script>…</script>")
		got = policy.ReplaceAllString(got, "…")
		golden(t, name+".html", got)
	}
}

// The browser runs what the policy names, and loads nothing.
func TestPolicyNamesWhatIsThere(t *testing.T) {
	got := htmlOf(t, refuted(), account())
	found := policy.FindStringSubmatch(got)
	if found == nil {
		t.Fatal("no policy")
	}
	allowed := html.UnescapeString(found[1])
	for what, of := range map[string]*regexp.Regexp{"style": styles, "script": scripts} {
		all := of.FindAllStringSubmatch(got, -1)
		if len(all) != 1 {
			t.Fatalf("%d of %s, want 1", len(all), what)
		}
		sum := sha256.Sum256([]byte(all[0][1]))
		if want := fmt.Sprintf("%s-src 'sha256-%s';", what, base64.StdEncoding.EncodeToString(sum[:])); !strings.Contains(allowed, want) {
			t.Errorf("the policy does not allow %s: %s", want, allowed)
		}
	}
	if !strings.HasPrefix(allowed, "default-src 'none'; ") {
		t.Errorf("the policy allows to load: %s", allowed)
	}
	rest := scripts.ReplaceAllString(styles.ReplaceAllString(got, ""), "")
	for _, bad := range []string{" src=", " href=", "<link", "<img", "http://", "https://", " style="} {
		if strings.Contains(rest, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
}

func TestHostileTextIsText(t *testing.T) {
	rec := account()
	rec.Header.Program, rec.Header.Touches = hostile, []string{hostile}
	got := htmlOf(t, crowded(), rec)
	if n := strings.Count(got, "<script"); n != 2 {
		t.Errorf("%d scripts, want the data and ours", n)
	}
	for _, bad := range []string{"<b>\u202e", "<script>alert", "\x1b", "\u202e"} {
		if strings.Contains(got, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
}

func TestHTMLWithoutRecordOrTime(t *testing.T) {
	if got := htmlOf(t, refuted(), nil); !strings.Contains(got, `id="data"`) {
		t.Error("a verdict without its record has no plots")
	}
	if got := htmlOf(t, &claim.Verdict{}, nil); strings.Contains(got, `id="data"`) {
		t.Error("a verdict without a timeline has plots")
	}
}

// What is drawn as failed or slow is what the verdict counts so.
func TestPointsAgreeWithTheVerdict(t *testing.T) {
	rec := account()
	rec.Header.Load.Retry = &record.Retry{Attempts: 2}
	rec.Requests[3].Again = true
	rec.Requests = append(rec.Requests, record.Request{ID: "d.1", Of: "d", Retries: 1, Scheduled: 25 * second, Taken: 25 * second, Done: 26 * second, Status: 200})
	v, err := claim.Judge(rec)
	if err != nil {
		t.Fatal(err)
	}
	var drawn [3]int
	for _, k := range newPlot(v, rec).Points.Kind {
		drawn[k]++
	}
	if drawn[failedPoint] != v.Requests.RunFailed || drawn[slowPoint] != v.Requests.RunSlow || drawn[goodPoint] != v.Requests.Run-v.Requests.RunFailed-v.Requests.RunSlow {
		t.Errorf("drawn %v, and the verdict has %+v", drawn, v.Requests)
	}
}

func TestPointsAreBounded(t *testing.T) {
	rec := account()
	for i := range 100_000 {
		r := record.Request{Scheduled: time.Duration(i) * time.Millisecond, Done: time.Duration(i+1) * time.Millisecond, Status: 200}
		if i%2 == 0 {
			r.Status = 500
		}
		rec.Requests = append(rec.Requests, r)
	}
	p := newPlot(refuted(), rec).Points
	if n := len(p.At); n > mostGood+2*mostTrouble || n < mostGood || p.of != 100_005 {
		t.Errorf("%d points of %d", n, p.of)
	}
}

func TestAssetsAreWhatTheReadmeSays(t *testing.T) {
	readme, err := os.ReadFile("assets/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"uPlot.iife.min.js": uplotJS, "uPlot.min.css": uplotCSS} {
		row := fmt.Sprintf("| `%s` | 1.6.32 | `%x` |", name, sha256.Sum256([]byte(text)))
		if !strings.Contains(string(readme), row) {
			t.Errorf("assets/README.md lacks %s", row)
		}
	}
	if !strings.Contains(uplotJS[:100], "v1.6.32") {
		t.Error("uPlot is of another version")
	}
}
