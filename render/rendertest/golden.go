// Package rendertest holds what a renderer made against files that are kept. Call
// Golden in a test. It renders nothing.
package rendertest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nines-ha/nines/render"
	"github.com/nines-ha/nines/system"
)

// Golden fails a test if a folder does not hold exactly these files; with update
// it writes them first.
func Golden(t *testing.T, dir string, files []render.File, update bool) {
	t.Helper()
	if update {
		if _, err := render.Folder(dir, files); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(dir, name)
		want[filepath.ToSlash(relative)] = string(body)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range files {
		got[f.Path] = string(f.Body)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s differs; if that is right, run go test -update in the renderer's folder\n%s", dir, diff)
	}
}

// Parse reads the description in a file.
func Parse(t *testing.T, name string) *system.System {
	t.Helper()
	body, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	sys, err := system.Parse(body, filepath.Base(name))
	if err != nil {
		t.Fatal(err)
	}
	return sys
}
