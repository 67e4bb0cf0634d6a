package image

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/validate"
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
