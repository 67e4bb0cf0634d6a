package engine

import (
	"slices"
	"testing"
	"testing/fstest"
)

func TestDebianSources(t *testing.T) {
	apt := fstest.MapFS{
		"sources.list":                  {Data: []byte("# none here\n")},
		"sources.list.d/debian.sources": {Data: []byte("Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n")},
		"sources.list.d/old.list":       {Data: []byte("deb [arch=amd64 signed-by=/k] http://mirror.example/debian bookworm main\n")},
		"sources.list.d/other.list":     {Data: []byte("deb https://packages.example/apt tool-bookworm main\n")},
		"sources.list.d/node.sources":   {Data: []byte("Types: deb\nSuites: nodistro\n")},
		"sources.list.d/broken.list":    {Data: []byte("deb [arch=amd64\ndeb\n")},
	}
	got, err := debianSources(apt)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"sources.list.d/debian.sources", "sources.list.d/old.list"}; !slices.Equal(got, want) {
		t.Errorf("sources %v, want %v", got, want)
	}
	if got, err := debianSources(fstest.MapFS{}); err != nil || len(got) != 0 {
		t.Errorf("without sources: %v, %v", got, err)
	}
}

func TestRootIsRefused(t *testing.T) {
	b := &Builder{CacheDir: t.TempDir()}
	for _, c := range []struct {
		name     string
		packages []string
	}{
		{"", []string{"git"}},
		{"../up", []string{"git"}},
		{"git", nil},
		{"git", []string{"git,ssh"}},
	} {
		if dir, err := b.Root(t.Context(), c.name, c.packages); err == nil {
			t.Errorf("Root(%q, %q) made %s", c.name, c.packages, dir)
		}
	}
}

func TestRootKeyIgnoresOrder(t *testing.T) {
	b := &Builder{CacheDir: "cache"}
	if a, z := b.rootDir("x", []string{"a", "z"}), b.rootDir("x", []string{"z", "a"}); a != z {
		t.Errorf("the same packages have two places: %s and %s", a, z)
	}
	if a, z := b.rootDir("x", []string{"a"}), b.rootDir("x", []string{"z"}); a == z {
		t.Errorf("different packages share %s", a)
	}
}
