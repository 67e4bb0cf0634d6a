package image

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/nines-ha/nines/ground/engine"
)

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// stored reads an image back the way any other tool would.
func stored(t *testing.T, s *Store, digest v1.Hash) v1.Image {
	t.Helper()
	p, err := layout.FromPath(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	img, err := p.Image(digest)
	if err != nil {
		t.Fatal(err)
	}
	sound(t, img)
	return img
}

// sound checks an image; ggcr's own check of layers takes gzip for granted.
func sound(t *testing.T, img v1.Image) {
	t.Helper()
	if err := validate.Image(img, validate.Fast); err != nil {
		t.Errorf("image: %v", err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		packed, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		plain, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		same(t, packed, l.Digest)
		same(t, plain, l.DiffID)
	}
}

func same(t *testing.T, r io.ReadCloser, want func() (v1.Hash, error)) {
	t.Helper()
	defer r.Close()
	got, _, err := v1.SHA256(r)
	if err != nil {
		t.Fatal(err)
	}
	if w, err := want(); err != nil || w != got {
		t.Errorf("a layer hashes to %s and not %s, %v", got, w, err)
	}
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReference(t *testing.T) {
	for short, want := range map[string]string{
		"redis:7":                         "docker.io/library/redis:7",
		"redis":                           "docker.io/library/redis:latest",
		"istio/pilot:1":                   "docker.io/istio/pilot:1",
		"quay.io/argoproj/argocd:v3":      "quay.io/argoproj/argocd:v3",
		"registry.local/fleet/vehicle":    "registry.local/fleet/vehicle:latest",
		"host.example:5000/a/b:c":         "host.example:5000/a/b:c",
		"docker.io/library/redis:7":       "docker.io/library/redis:7",
		"registry.k8s.io/pause:3.10.1":    "registry.k8s.io/pause:3.10.1",
		"index.docker.io/library/redis:7": "docker.io/library/redis:7",
	} {
		if got, err := Reference(short); err != nil || got != want {
			t.Errorf("Reference(%q) = %q, %v; want %q", short, got, err, want)
		}
	}
	if got, err := Reference("Not A Reference"); err == nil {
		t.Errorf("a bad reference became %q", got)
	}
	for full, want := range map[string]string{
		"host.example:5000/a/b:c": "host.example:5000/a/b",
		"host.example:5000/a/b":   "host.example:5000/a/b",
		"a.io/b@sha256:00":        "a.io/b",
	} {
		if got := repository(full); got != want {
			t.Errorf("repository(%q) = %q, want %q", full, got, want)
		}
	}
}

func TestStoreIsSharedByWriters(t *testing.T) {
	dir := t.TempDir()
	var wait sync.WaitGroup
	const writers = 8
	for i := range writers {
		wait.Add(1)
		go func() {
			defer wait.Done()
			s, err := Open(dir)
			if err != nil {
				t.Error(err)
				return
			}
			img, err := random.Image(100, 1)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := s.Put("a.example/x:"+string(rune('a'+i)), img); err != nil {
				t.Error(err)
			}
		}()
	}
	wait.Wait()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := s.List()
	if err != nil || len(entries) != writers {
		t.Errorf("%d of %d references are there: %v", len(entries), writers, err)
	}
	for _, e := range entries {
		stored(t, s, e.Digest)
	}
	left, err := os.ReadDir(filepath.Join(dir, "uploads"))
	if err != nil || len(left) != 0 {
		t.Errorf("writers left %v, %v", left, err)
	}
	if _, err := s.Lookup("a.example/none:1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a reference nobody stored: %v", err)
	}
}

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
		{broken, "", "repeat it with: cd '" + broken},
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

// tinyEngines is a source folder with one engine of one program.
func tinyEngines(t *testing.T) *engine.Builder {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"tiny/go.mod": "module engine.test/tiny\n\ngo 1.26.0\n\nrequire example.test/hello v1.0.0\n\n" +
			"replace example.test/hello => ./upstream\n\ntool example.test/hello\n",
		"tiny/upstream/go.mod":  hello["go.mod"],
		"tiny/upstream/main.go": hello["main.go"],
	})
	return &engine.Builder{CacheDir: t.TempDir(), Source: dir, Recipes: []engine.Recipe{{Name: "tiny", Module: "example.test/hello"}}}
}

func TestCatalogue(t *testing.T) {
	const ref = "a.example/hello:1"
	recipe := Recipe{Reference: ref, Program: "hello", User: "1:1", BindLowPorts: true}
	c := &Catalogue{Store: open(t), Engines: tinyEngines(t), Recipes: []Recipe{recipe}}
	if err := c.Provide(t.Context(), "a.example/none:1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a reference without a recipe: %v", err)
	}
	if err := c.Provide(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	first, err := c.Store.Lookup(ref)
	if err != nil {
		t.Fatal(err)
	}
	img := stored(t, c.Store, first.Digest)
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(cf.Config.Entrypoint, []string{"/hello"}) || cf.Config.User != "1:1" {
		t.Errorf("config %+v", cf.Config)
	}
	files := contents(t, img)
	for _, want := range []string{"etc/passwd", "etc/ssl/certs/ca-certificates.crt", "tmp/", "hello"} {
		if files[want] == nil {
			t.Errorf("the image has no %s", want)
		}
	}
	if h := files["hello"]; h != nil && h.PAXRecords["SCHILY.xattr.security.capability"] == "" {
		t.Error("the program may not bind low ports")
	}
	for name, h := range files {
		if !h.ModTime.Equal(epoch) {
			t.Errorf("%s has the time %s", name, h.ModTime)
		}
	}

	// A changed recipe is made anew; an image from elsewhere is left alone.
	c.Recipes[0].User = "2:2"
	if err := c.Provide(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	second, err := c.Store.Lookup(ref)
	if err != nil || second.Digest == first.Digest {
		t.Errorf("the changed recipe gave %s again, %v", second.Digest, err)
	}
	other, err := random.Image(10, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Store.Put(ref, other); err != nil {
		t.Fatal(err)
	}
	if err := c.Provide(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	want, err := other.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if third, err := c.Store.Lookup(ref); err != nil || third.Digest != want {
		t.Errorf("the loaded image was replaced by %s, %v", third.Digest, err)
	}
}

func contents(t *testing.T, img v1.Image) map[string]*tar.Header {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*tar.Header{}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		archive := tar.NewReader(r)
		for {
			h, err := archive.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			files[h.Name] = h
		}
		r.Close()
	}
	return files
}

func TestFromRoot(t *testing.T) {
	root := t.TempDir()
	write(t, root, map[string]string{
		"etc/passwd":  "root:x:0:0::/root:/bin/sh\nredis:x:101:102::/var/lib/redis:/usr/sbin/nologin\n",
		"usr/bin/one": "program",
	})
	if err := os.Link(filepath.Join(root, "usr/bin/one"), filepath.Join(root, "usr/bin/two")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("usr/bin", filepath.Join(root, "bin")); err != nil {
		t.Fatal(err)
	}
	s := open(t)
	r := Recipe{Reference: "docker.io/library/redis:7", User: "redis", Dirs: []Dir{{Path: "data", User: "redis"}}}
	img, err := s.fromRoot(root, r)
	if err != nil {
		t.Fatal(err)
	}
	sound(t, img)
	cf, err := img.ConfigFile()
	if err != nil || cf.Config.User != "101:102" {
		t.Errorf("user %q, %v; want the number", cf.Config.User, err)
	}
	files := contents(t, img)
	if h := files["usr/bin/two"]; h == nil || h.Typeflag != tar.TypeLink || h.Linkname != "usr/bin/one" {
		t.Errorf("hard link %+v", h)
	}
	if h := files["bin"]; h == nil || h.Linkname != "usr/bin" {
		t.Errorf("symbolic link %+v", h)
	}
	if h := files["data/"]; h == nil || h.Uid != 101 {
		t.Errorf("made directory %+v", h)
	}
	again, err := s.fromRoot(root, r)
	if err != nil {
		t.Fatal(err)
	}
	a, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := again.Digest(); err != nil || a != b {
		t.Errorf("the same root gave %s and %s, %v", a, b, err)
	}
	r.Dirs[0].User = "nobody-here"
	if _, err := s.fromRoot(root, r); err == nil || !strings.Contains(err.Error(), "a user that the root does not have") {
		t.Errorf("an unknown user: %v", err)
	}
}

func TestRecipesOfTheGround(t *testing.T) {
	b := &engine.Builder{Source: filepath.Join("..", "..", "engines")}
	for _, r := range Recipes() {
		if full, err := Reference(r.Reference); err != nil || full != r.Reference {
			t.Errorf("%s is not in full: %s, %v", r.Reference, full, err)
		}
		if (r.Program == "") == (len(r.Debian) == 0) {
			t.Errorf("%s has to be either a program or a Debian root", r.Reference)
		}
		if r.Program == "" {
			continue
		}
		e, err := b.Find(r.Program)
		if err != nil {
			t.Errorf("%s: %v", r.Reference, err)
			continue
		}
		// The tag promises a version; the pin decides it. pause has its own.
		if _, tag, _ := strings.Cut(r.Reference, ":"); r.Program != "pause" && tag != e.Version {
			t.Errorf("%s is made from %s %s", r.Reference, e.Name, e.Version)
		}
	}
}
