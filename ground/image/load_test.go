package image

import (
	"archive/tar"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestLoad(t *testing.T) {
	img, err := random.Image(300, 2)
	if err != nil {
		t.Fatal(err)
	}
	index, err := random.Index(300, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	p, err := layout.Write(folder, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendImage(img, layout.WithAnnotations(map[string]string{refAnnotation: "a.example/one:1"})); err != nil {
		t.Fatal(err)
	}
	if err := p.AppendIndex(index, layout.WithAnnotations(map[string]string{
		refAnnotation: "2", "io.containerd.image.name": "docker.io/library/two:2"})); err != nil {
		t.Fatal(err)
	}
	ociTar := filepath.Join(t.TempDir(), "oci.tar")
	tarFolder(t, folder, ociTar)
	dockerTar := filepath.Join(t.TempDir(), "docker.tar")
	tag, err := parseTag("three:3")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(dockerTar, tag, img); err != nil {
		t.Fatal(err)
	}
	nameless := t.TempDir()
	if p, err = layout.Write(nameless, empty.Index); err != nil {
		t.Fatal(err)
	}
	if err := p.AppendImage(img); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a tar\n", 100)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, source, as string
		want             []string
		fails            string
	}{
		{name: "layout folder", source: folder, want: []string{"a.example/one:1", "docker.io/library/two:2"}},
		{name: "layout tar", source: ociTar, want: []string{"a.example/one:1", "docker.io/library/two:2"}},
		{name: "docker tar", source: dockerTar, want: []string{"docker.io/library/three:3"}},
		{name: "docker tar renamed", source: dockerTar, as: "b.example/four:4", want: []string{"b.example/four:4"}},
		{name: "nameless", source: nameless, fails: "--as NAME:TAG"},
		{name: "nameless named", source: nameless, as: "five:5", want: []string{"docker.io/library/five:5"}},
		{name: "two called one", source: folder, as: "six:6", fails: "2 images cannot all be called"},
		{name: "text", source: text, fails: "expected a tar"},
		{name: "absent", source: filepath.Join(folder, "none"), fails: "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			got, err := s.Load(c.source, c.as)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Errorf("%v, want an error with %q", err, c.fails)
				}
				return
			}
			if err != nil || !slices.Equal(got, c.want) {
				t.Fatalf("loaded %v, %v; want %v", got, err, c.want)
			}
			for _, ref := range got {
				e, err := s.Lookup(ref)
				if err != nil {
					t.Fatal(err)
				}
				if e.MediaType.IsImage() {
					stored(t, s, e.Digest)
				}
			}
		})
	}
}

func tarFolder(t *testing.T, dir, out string) {
	t.Helper()
	f, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestTarStaysInside(t *testing.T) {
	out := filepath.Join(t.TempDir(), "evil.tar")
	f, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	for _, name := range []string{"oci-layout", "../../escaped"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: 2}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	s := open(t)
	if _, err := s.Load(out, ""); err == nil || !strings.Contains(err.Error(), "escapes") {
		t.Errorf("a tar with a name outside: %v", err)
	}
	if _, err := os.Stat(filepath.Join(s.Dir(), "escaped")); err == nil {
		t.Error("the file was written outside")
	}
}
