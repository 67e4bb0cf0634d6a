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
}

func TestJUnit(t *testing.T) {
	var b strings.Builder
	if err := JUnit(&b, []*claim.Verdict{held(), refuted(), inconclusive()}); err != nil {
		t.Fatal(err)
	}
	golden(t, "junit.xml", b.String())
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
