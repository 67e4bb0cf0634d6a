package render_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nines-ha/nines/render"
)

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "apps/fleet/README.yaml", "ours: no\n")
	write(t, dir, ".git/config.yaml", render.Header)

	step := func(want render.Changes, files ...render.File) {
		t.Helper()
		got, err := render.Folder(dir, files)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	}
	none := []string{}
	step(render.Changes{Created: []string{"apps/fleet/a/one.yaml", "apps/fleet/b/two.yaml"}, Changed: none, Removed: none, Unchanged: none},
		file("apps/fleet/a/one.yaml", "1"), file("apps/fleet/b/two.yaml", "2"))
	step(render.Changes{Created: []string{"apps/fleet/a/three.yaml"}, Changed: []string{"apps/fleet/a/one.yaml"}, Removed: []string{"apps/fleet/b/two.yaml"}, Unchanged: none},
		file("apps/fleet/a/one.yaml", "new"), file("apps/fleet/a/three.yaml", "3"))
	step(render.Changes{Created: none, Changed: none, Removed: []string{"apps/fleet/a/three.yaml"}, Unchanged: []string{"apps/fleet/a/one.yaml"}},
		file("apps/fleet/a/one.yaml", "new"))

	want := map[string]string{
		"apps/fleet/a/one.yaml":  render.Header + "new",
		"apps/fleet/README.yaml": "ours: no\n",
		".git/config.yaml":       render.Header,
	}
	if diff := cmp.Diff(want, content(t, dir)); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(filepath.Join(dir, "apps/fleet/b")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an empty folder stays: %v", err)
	}
}

func TestPartLeavesTheRest(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "apps/a.yaml", render.Header)
	for _, step := range []struct {
		files   []render.File
		removed []string
	}{
		{[]render.File{file("README.md", ""), file("env/one/x.yaml", "1"), file("env/one/y.yaml", "2")}, []string{}},
		{[]render.File{file("README.md", ""), file("env/one/x.yaml", "1")}, []string{"env/one/y.yaml"}},
	} {
		changes, err := render.Part(dir, "env/one", step.files)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.removed, changes.Removed); diff != "" {
			t.Error(diff)
		}
	}
	want := map[string]string{"apps/a.yaml": render.Header, "README.md": render.Header, "env/one/x.yaml": render.Header + "1"}
	if diff := cmp.Diff(want, content(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestFolderRefuses(t *testing.T) {
	outside := t.TempDir()
	cases := []struct {
		name    string
		prepare func(dir string)
		file    render.File
		foreign bool
	}{
		{"a file of others in the way", func(dir string) { write(t, dir, "b/x.yaml", "theirs\n") }, file("b/x.yaml", "1"), true},
		{"a path that leads out", func(string) {}, file("../x.yaml", "1"), false},
		{"a link that leads out", func(dir string) {
			if err := os.Symlink(outside, filepath.Join(dir, "b")); err != nil {
				t.Fatal(err)
			}
		}, file("b/x.yaml", "1"), false},
		{"a file without header", func(string) {}, render.File{Path: "b/x.yaml", Body: []byte("1")}, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.prepare(dir)
			before := content(t, dir)
			_, err := render.Folder(dir, []render.File{file("a/first.yaml", "1"), c.file})
			if err == nil || errors.Is(err, render.ErrForeign) != c.foreign {
				t.Errorf("error %v", err)
			}
			if c.foreign {
				if diff := cmp.Diff(before, content(t, dir)); diff != "" {
					t.Errorf("something was written: %s", diff)
				}
			}
			if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
				t.Errorf("written outside of the folder: %v, %v", left, err)
			}
		})
	}
}

func file(name, body string) render.File {
	return render.File{Path: name, Body: []byte(render.Header + body)}
}

func write(t *testing.T, dir, name, body string) {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(body), 0o644); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		body, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(dir, name)
		all[filepath.ToSlash(relative)] = string(body)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestSetHasEachOnce(t *testing.T) {
	object := func(kind, name string) any {
		return map[string]any{"kind": kind, "metadata": map[string]any{"namespace": "fleet", "name": name}}
	}
	for want, second := range map[string]func(*render.Set){
		"":                             func(s *render.Set) { s.Add("b.yaml", object("Service", "b")) },
		"file apps/a.yaml is in":       func(s *render.Set) { s.Add("a.yaml", object("Service", "b")) },
		"Service fleet/a is in apps/a": func(s *render.Set) { s.Add("b.yaml", object("Service", "a")) },
	} {
		set := render.NewSet("apps")
		set.Add("a.yaml", object("Service", "a"))
		second(set)
		files, err := set.Files()
		if want == "" {
			if err != nil || len(files) != 2 {
				t.Errorf("%d files, %v", len(files), err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %q", err, want)
		}
	}
}
