package image

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

var hello = map[string]string{
	"go.mod":  "module example.test/hello\n\ngo 1.26.0\n",
	"main.go": "package main\n\nfunc main() { println(\"hello\") }\n",
}

func TestBuildServiceIsReproducible(t *testing.T) {
	var pins []string
	for range 2 {
		source := t.TempDir()
		write(t, source, hello)
		s := open(t)
		pin, err := s.BuildService(t.Context(), "registry.local/fleet/hello", source)
		if err != nil {
			t.Fatal(err)
		}
		pins = append(pins, pin)
		digest, err := v1.NewHash(strings.TrimPrefix(pin, "registry.local/fleet/hello@"))
		if err != nil {
			t.Fatal(err)
		}
		cf, err := stored(t, s, digest).ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if cf.Config.User != "65532:65532" || !slices.Equal(cf.Config.Entrypoint, []string{"/hello"}) {
			t.Errorf("config %+v", cf.Config)
		}
	}
	if pins[0] != pins[1] {
		t.Errorf("the same source in two folders gave %s and %s", pins[0], pins[1])
	}
}

func TestBuildServiceForTwoPlatforms(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the standard library for another architecture")
	}
	source := t.TempDir()
	write(t, source, map[string]string{"go.mod": hello["go.mod"], "main.go": "package main\n\nfunc main() {}\n"})
	s := open(t)
	if _, err := s.BuildService(t.Context(), "registry.local/fleet/hello:1", source, "linux/amd64", "linux/arm64"); err != nil {
		t.Fatal(err)
	}
	e, err := s.Lookup("registry.local/fleet/hello:1")
	if err != nil || !e.MediaType.IsIndex() {
		t.Fatalf("%+v, %v; want an index", e, err)
	}
	index, err := layout.ImageIndexFromPath(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	child, err := index.ImageIndex(e.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(child, validate.Fast); err != nil {
		t.Error(err)
	}
}

func TestBuildServiceFails(t *testing.T) {
	library, broken := t.TempDir(), t.TempDir()
	write(t, library, map[string]string{"go.mod": hello["go.mod"], "lib.go": "package lib\n"})
	write(t, broken, map[string]string{"go.mod": hello["go.mod"], "main.go": "package main\n\nfunc main() { nonsense() }\n"})
	for _, c := range []struct{ source, platform, want string }{
		{library, "", "not a main package"},
		{broken, "", "undefined: nonsense"},
		{broken, "", "repeat it with: (cd '" + broken},
		{filepath.Join(library, "none"), "", "not a folder"},
		{library, "windows/amd64", "not supported"},
	} {
		platforms := []string{}
		if c.platform != "" {
			platforms = append(platforms, c.platform)
		}
		_, err := open(t).BuildService(t.Context(), "registry.local/a/b", c.source, platforms...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}
