package image

import (
	"archive/tar"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/nines-ha/nines/ground/engine"
)

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

// A program of one's own takes the place of a wheel's, and gives another image
// than the wheel or another program does.
func TestCatalogueKeysOfOwnPrograms(t *testing.T) {
	own := filepath.Join(t.TempDir(), "anything")
	c := &Catalogue{Store: open(t), Engines: &engine.Builder{CacheDir: t.TempDir(), Source: t.TempDir(), Recipes: []engine.Recipe{}}}
	r := Recipe{Reference: "a.example/envoy:1", Debian: []string{"ca-certificates"}, Wheel: &engine.Wheel{Name: Envoy, File: "envoy/_bin/envoy"}}
	keys := map[string]string{}
	for _, content := range []string{"", "one", "two"} {
		c.Engines.Own = nil
		if content != "" {
			write(t, filepath.Dir(own), map[string]string{filepath.Base(own): content})
			c.Engines.Own = map[string]string{Envoy: own}
		}
		key, err := c.key(r)
		if err != nil {
			t.Fatal(err)
		}
		if before, ok := keys[key]; ok {
			t.Errorf("%q and %q give the same image", before, content)
		}
		keys[key] = content
	}
	files, err := c.above(t.Context(), r)
	if err != nil || len(files) != 1 {
		t.Fatalf("%d layers, %v", len(files), err)
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

func TestRecipesOfTheGround(t *testing.T) {
	b := &engine.Builder{Source: filepath.Join("..", "..", "engines")}
	for _, r := range Recipes() {
		if full, err := Reference(r.Reference); err != nil || full != r.Reference {
			t.Errorf("%s is not in full: %s, %v", r.Reference, full, err)
		}
		if (r.Program == "") == (len(r.Debian) == 0) {
			t.Errorf("%s has to be either a program or a Debian root", r.Reference)
		}
		for _, program := range r.programs() {
			if _, err := b.Find(program); err != nil {
				t.Errorf("%s: %v", r.Reference, err)
			}
		}
		if r.Program == "" {
			continue
		}
		e, err := b.Find(filepath.Base(r.Program))
		if err != nil {
			t.Errorf("%s: %v", r.Reference, err)
			continue
		}
		// The tag promises a version; the pin decides it. pause has its own.
		_, tag, _ := strings.Cut(r.Reference, ":")
		if r.Program != "pause" && tag != e.Version && tag != engine.IstioVersion && tag != "v"+engine.PrometheusVersion {
			t.Errorf("%s is made from %s %s", r.Reference, e.Name, e.Version)
		}
	}
}

// Links and files go above a root in one layer; what is put among programs can
// be run.
func TestBeside(t *testing.T) {
	engines := tinyEngines(t)
	engines.Recipes[0].Files = map[string]string{"wrapper.sh": "main.go", "settings": "go.mod"}
	if err := engines.Build(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := &Catalogue{Store: open(t), Engines: engines}
	layers, err := c.above(t.Context(), Recipe{
		Reference: "a.example/hello:1", Debian: []string{"git"}, Beside: []string{"hello"},
		Files: map[string]string{"usr/local/bin/wrapper.sh": "wrapper.sh", "etc/settings": "settings"},
		Links: map[string]string{"usr/local/bin/other": "hello"},
	})
	if err != nil || len(layers) != 2 {
		t.Fatalf("%d layers, %v; want the program's and one for the rest", len(layers), err)
	}
	img, err := compose("amd64", v1.Config{}, layers...)
	if err != nil {
		t.Fatal(err)
	}
	sound(t, img)
	files := contents(t, img)
	for name, mode := range map[string]int64{"usr/local/bin/hello": 0o755, "usr/local/bin/wrapper.sh": 0o755, "etc/settings": 0o644} {
		if h := files[name]; h == nil || h.Mode != mode || h.Typeflag != tar.TypeReg {
			t.Errorf("%s is %+v", name, h)
		}
	}
	if h := files["usr/local/bin/other"]; h == nil || h.Typeflag != tar.TypeSymlink || h.Linkname != "hello" {
		t.Errorf("link %+v", h)
	}
}
