package report

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/nines-ha/nines/drill/claim"
)

func accounts() []claim.Account {
	due := 21 * second
	return []claim.Account{{
		Case: claim.Case{
			ID: "5c783e4d-01", At: due, Op: "write", Latency: 52 * time.Millisecond, Result: "503", Cause: claim.NodeDown,
			Story: "answered 503; gateway gateway-a on westeurope-2-1: upstream connection failure (UF), 3 attempts, the last to vehicle-a on westeurope-1-1; westeurope-1-1 was powered off 1.2 s before",
		},
		Steps: []claim.Step{
			{At: due, Where: "client", Text: "write of client 11, due 1.2 s after the fault"},
			{At: due + time.Millisecond, Where: "balancer", Text: "the connection went to westeurope-2-1 as the gateway's log says, which it saw up; there to gateway pod gateway-a"},
			{At: due + time.Millisecond, Where: "gateway", Text: "gateway gateway-a on westeurope-2-1: upstream connection failure (UF), retry limit reached (URX), 3 attempts, the last to vehicle-a on westeurope-1-1: \"connection_timeout\", answered 503 after 50 ms"},
			{At: due - 1200*time.Millisecond, Where: "cluster", Text: "machine westeurope-1-1 stopped, 1.2 s before"},
		},
		Unread: []string{"the access log of fleet/vehicle-a on westeurope-1-1 from 19.8 s on: the pod is no more"},
	}, {Case: claim.Case{ID: "5c783e4d-01.2", Result: "200", Latency: 4 * time.Millisecond}, Steps: []claim.Step{{Where: "client", Text: "write of client 11"}}}}
}

func TestRequest(t *testing.T) {
	var out bytes.Buffer
	if err := Request(&out, accounts(), 100, false); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/request.txt"
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Error(diff)
	}
}

// The page shows what proxies say of the worst requests, as text.
func TestHTMLShowsHops(t *testing.T) {
	v := refuted()
	v.Worst[0].Hops = []claim.Hop{{
		Proxy: "gateway", Pod: "gateway-a", Node: "n2", Length: 50 * time.Millisecond, Status: 503, Words: []string{"upstream connection failure (UF)"}, UpstreamPod: "<b>", Attempts: 3, Failure: "refused",
	}}
	var out bytes.Buffer
	if err := HTML(&out, v, nil); err != nil {
		t.Fatal(err)
	}
	if want := "<br>gateway gateway-a on n2: 503 after 50 ms, upstream connection failure (UF), 3 attempts, to &lt;b&gt; (refused)"; !strings.Contains(out.String(), want) {
		t.Errorf("the page does not show %q", want)
	}
}

// A text of a system under test cannot take over a terminal or its width.
func TestRequestIsClean(t *testing.T) {
	all := accounts()
	all[0].Steps = append(all[0].Steps, claim.Step{Where: "\x1b[31m", Text: strings.Repeat("x", 300) + "\x1b]0;owned\a\nsecond line"})
	var out bytes.Buffer
	if err := Request(&out, all, 80, false); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x1b\a") {
		t.Error("an escape gets through")
	}
	for line := range strings.SplitSeq(out.String(), "\n") {
		if utf8.RuneCountInString(line) > 80 {
			t.Errorf("a line of %d columns: %q", utf8.RuneCountInString(line), line)
		}
	}
}

// A verdict tells that the logs of proxies are not whole.
func TestDoubtsTellOfUnreadLogs(t *testing.T) {
	v := held()
	v.Unread = []string{"the access log of fleet/vehicle-a: the pod is no more", "another"}
	var out strings.Builder
	if err := Text(&out, v, 200, false); err != nil {
		t.Fatal(err)
	}
	if want := "2 access logs of proxies are not in the record, or not whole: the access log of fleet/vehicle-a: the pod is no more"; !strings.Contains(out.String(), want) {
		t.Errorf("no %q in:\n%s", want, out.String())
	}
}

// And that spans may be missing, once.
func TestDoubtsTellOfUntraced(t *testing.T) {
	v := held()
	v.Untraced = "the ground did not answer"
	const want = "spans may be missing: the ground did not answer"
	if got := otherDoubts(v); len(got) == 0 || got[len(got)-1] != want {
		t.Errorf("no %q in %q", want, got)
	}
	v.Verdict, v.Because, v.Doubts = claim.Inconclusive, want, []string{want}
	if got := otherDoubts(v); len(got) > 0 {
		t.Errorf("told by the headline and by %q", got)
	}
}
