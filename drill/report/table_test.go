package report

import (
	"encoding/json"
	"encoding/xml"
	"strings"
	"testing"

	"github.com/nines-ha/nines/drill/claim"
)

func TestTable(t *testing.T) {
	var b strings.Builder
	if err := Table(&b, []*claim.Verdict{held(), refuted(), inconclusive()}); err != nil {
		t.Fatal(err)
	}
	golden(t, "table.txt", b.String())
	b.Reset()
	if err := Table(&b, []*claim.Verdict{held(), retried(), inconclusive()}); err != nil {
		t.Fatal(err)
	}
	golden(t, "table-retried.txt", b.String())
}

func TestJUnit(t *testing.T) {
	var b strings.Builder
	if err := JUnit(&b, []*claim.Verdict{held(), refuted(), inconclusive()}); err != nil {
		t.Fatal(err)
	}
	golden(t, "junit.xml", b.String())
}

// What no single verdict tells has a case too, and runs of one drill differ by name.
func TestJUnitOfTheRest(t *testing.T) {
	var b strings.Builder
	err := JUnit(&b, []*claim.Verdict{held(), held()},
		Untold{"zone-loss", "one zone", LeftOut}, Untold{"node-loss, run 2", "no answer", Trouble},
		Untold{"prove no-drain", "it held", NotProven}, Untold{"prove one-zone", "refuted, as it must be", Proven})
	if err != nil {
		t.Fatal(err)
	}
	var back junitSuites
	if err := xml.Unmarshal([]byte(b.String()), &back); err != nil {
		t.Fatal(err)
	}
	suite := back.Suite
	if back.Tests != 6 || back.Failures != 1 || back.Errors != 1 || suite.Skipped != 1 || len(suite.Cases) != 6 {
		t.Fatalf("%+v", back)
	}
	cases := suite.Cases
	if cases[0].Name == cases[1].Name || !strings.HasSuffix(cases[1].Name, "(run 2)") {
		t.Errorf("two runs are %q and %q", cases[0].Name, cases[1].Name)
	}
	if cases[2].Skipped == nil || cases[3].Error == nil || cases[4].Failure == nil || cases[5].Failure != nil || cases[5].Out != "refuted, as it must be" {
		t.Errorf("%+v", cases)
	}
}

func TestJUnitOfHostileVerdict(t *testing.T) {
	var b strings.Builder
	if err := JUnit(&b, []*claim.Verdict{crowded()}); err != nil {
		t.Fatal(err)
	}
	var back junitSuites
	if err := xml.Unmarshal([]byte(b.String()), &back); err != nil {
		t.Fatalf("not XML: %v", err)
	}
	if back.Failures != 1 || len(back.Suite.Cases) != 1 || back.Suite.Cases[0].Failure == nil {
		t.Errorf("a refuted verdict is no failure: %+v", back)
	}
}

func TestCompare(t *testing.T) {
	var b strings.Builder
	if err := Compare(&b, held(), refuted()); err != nil {
		t.Fatal(err)
	}
	golden(t, "compare.txt", b.String())
	text, err := json.MarshalIndent(NewComparison(held(), refuted()), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "compare.json", string(text)+"\n")
	b.Reset()
	if err := Compare(&b, refuted(), retried()); err != nil {
		t.Fatal(err)
	}
	golden(t, "compare-retried.txt", b.String())
}

func TestCompareWithItself(t *testing.T) {
	c := NewComparison(refuted(), refuted())
	if len(c.Apart) > 0 {
		t.Errorf("a verdict is apart from itself: %q", c.Apart)
	}
	for _, r := range c.Rows {
		if r.Differs || r.Change != nil && *r.Change != 0 {
			t.Errorf("a verdict differs from itself: %+v", r)
		}
	}
}

func TestCompareWithoutAnswers(t *testing.T) {
	none := held()
	none.Latency = claim.Latency{}
	for _, r := range NewComparison(held(), none).Rows {
		switch r.Group + " " + r.Name {
		case "number p50", "number p95", "number p99", "number p99.9", "number max":
			if r.B != "-" || r.Change != nil || !r.Differs {
				t.Errorf("%+v", r)
			}
		}
	}
}
