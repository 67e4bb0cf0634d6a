package system_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nines-ha/nines/system"
)

var update = flag.Bool("update", false, "write golden files anew")

func TestInvalid(t *testing.T) {
	for _, name := range fixtures(t, "testdata/invalid/*/*.yaml") {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(name, "testdata/invalid/"), ".yaml"), func(t *testing.T) {
			sys, err := system.Parse(read(t, name), filepath.Base(name))
			if err == nil {
				t.Fatalf("accepted as %+v", sys)
			}
			var problems system.Errors
			if !errors.As(err, &problems) || len(problems) == 0 {
				t.Fatalf("%T instead of Errors", err)
			}
			golden(t, strings.TrimSuffix(name, ".yaml")+".golden", []byte(err.Error()+"\n"))
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(read(t, name)), string(got)); diff != "" {
		t.Errorf("%s differs; if that is right, run go test -update ./system\n%s", name, diff)
	}
}

func fixtures(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: no files, %v", pattern, err)
	}
	return names
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	body, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return body
}
