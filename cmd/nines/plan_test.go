package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPlan holds the plan of a small system, commands and all: a change to how
// something is started shows in review.
func TestPlan(t *testing.T) {
	work := t.TempDir()
	t.Setenv("XDG_STATE_HOME", filepath.Join(work, "state"))
	t.Setenv("XDG_CACHE_HOME", filepath.Join(work, "cache"))
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"up", "--dry-run", "-f", "testdata/plan/nines.yaml", "--engines", "../../engines"}, nil, &out, &errs)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, &errs)
	}
	got := strings.ReplaceAll(out.String(), work, "$WORK")
	golden := "testdata/plan/plan.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the plan changed (-want +got); if that is meant: go test ./cmd/nines -update\n%s", diff)
	}
}
