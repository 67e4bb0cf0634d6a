package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
)

// ErrNotFound says that the store has no such reference or blob.
var ErrNotFound = errors.New("not in the image store")

const (
	refAnnotation    = "org.opencontainers.image.ref.name"
	recipeAnnotation = "dev.nines.recipe" // key of what a catalogue image was made from
	layoutVersion    = `{"imageLayoutVersion":"1.0.0"}` + "\n"
	maxManifest      = 4 << 20
)

// Store is an OCI image layout: blobs by digest and an index of references.
// Several processes may use one directory at once; other tools read it.
type Store struct {
	dir string
}

// Open opens the layout in dir, or makes it.
func Open(dir string) (*Store, error) {
	for _, d := range []string{"blobs/sha256", "uploads"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("open the image store: %w", err)
		}
	}
	s := &Store{dir: dir}
	file := filepath.Join(dir, "oci-layout")
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		if err := s.replace(file, []byte(layoutVersion)); err != nil {
			return nil, fmt.Errorf("open the image store: %w", err)
		}
	}
	return s, nil
}

// Dir is the directory of the layout.
func (s *Store) Dir() string { return s.dir }

// Entry is one reference of the index.
type Entry struct {
	Reference string
	Digest    v1.Hash
	MediaType types.MediaType
	Size      int64  // of the manifest
	Recipe    string // key of the recipe it was made from; empty: made elsewhere
}

// List returns the references, sorted.
func (s *Store) List() ([]Entry, error) {
	index, err := s.index()
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for _, d := range index.Manifests {
		if ref := d.Annotations[refAnnotation]; ref != "" {
			entries = append(entries, Entry{ref, d.Digest, d.MediaType, d.Size, d.Annotations[recipeAnnotation]})
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Reference, b.Reference) })
	return entries, nil
}

// Lookup finds a full reference (see Reference) by its tag.
func (s *Store) Lookup(full string) (Entry, error) {
	entries, err := s.List()
	if err != nil {
		return Entry{}, err
	}
	for _, e := range entries {
		if e.Reference == full {
			return e, nil
		}
	}
	return Entry{}, fmt.Errorf("%s: %w", full, ErrNotFound)
}

// Manifest returns a manifest or index by digest, and its media type.
func (s *Store) Manifest(digest v1.Hash) ([]byte, types.MediaType, error) {
	f, size, err := s.Blob(digest)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	if size > maxManifest {
		return nil, "", fmt.Errorf("manifest %s: %w", digest, ErrNotFound)
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, "", fmt.Errorf("read manifest %s: %w", digest, err)
	}
	kind, err := manifestType(text)
	if err != nil {
		return nil, "", fmt.Errorf("manifest %s: %w", digest, ErrNotFound)
	}
	return text, kind, nil
}

// manifestType is what a manifest says it is; OCI ones may leave that out.
func manifestType(text []byte) (types.MediaType, error) {
	var m struct {
		MediaType types.MediaType `json:"mediaType"`
		Config    *v1.Descriptor  `json:"config"`
		Manifests []v1.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return "", fmt.Errorf("not a manifest: %w", err)
	}
	switch {
	case m.MediaType.IsImage() || m.MediaType.IsIndex():
		return m.MediaType, nil
	case m.MediaType != "":
		return "", fmt.Errorf("not a manifest: media type %q", m.MediaType)
	case m.Manifests != nil:
		return types.OCIImageIndex, nil
	case m.Config != nil:
		return types.OCIManifestSchema1, nil
	}
	return "", errors.New("not a manifest: neither config nor manifests")
}

// PutManifest stores a manifest and, unless ref is empty, names it. Everything
// it points to has to be there already.
func (s *Store) PutManifest(ref string, text []byte, kind types.MediaType) (v1.Hash, error) {
	return s.putManifest(ref, text, kind, "")
}

func (s *Store) putManifest(ref string, text []byte, kind types.MediaType, recipe string) (v1.Hash, error) {
	if len(text) > maxManifest {
		return v1.Hash{}, fmt.Errorf("manifest of %d bytes; at most %d are taken", len(text), maxManifest)
	}
	if err := s.complete(text, kind); err != nil {
		return v1.Hash{}, err
	}
	return s.keep(ref, text, kind, recipe)
}

func (s *Store) keep(ref string, text []byte, kind types.MediaType, recipe string) (v1.Hash, error) {
	digest, size, err := s.WriteBlob(bytes.NewReader(text))
	if err != nil || ref == "" {
		return digest, err
	}
	d := v1.Descriptor{MediaType: kind, Size: size, Digest: digest, Annotations: map[string]string{refAnnotation: ref}}
	if recipe != "" {
		d.Annotations[recipeAnnotation] = recipe
	}
	return digest, s.name(d)
}

// complete refuses a manifest whose parts are missing, so that a reference
// that resolves can also be pulled.
func (s *Store) complete(text []byte, kind types.MediaType) error {
	var parts []v1.Descriptor
	if kind.IsIndex() {
		index, err := v1.ParseIndexManifest(bytes.NewReader(text))
		if err != nil {
			return fmt.Errorf("parse the index: %w", err)
		}
		parts = index.Manifests
	} else {
		m, err := v1.ParseManifest(bytes.NewReader(text))
		if err != nil {
			return fmt.Errorf("parse the manifest: %w", err)
		}
		parts = append(m.Layers, m.Config)
	}
	for _, p := range parts {
		if !p.MediaType.IsDistributable() {
			continue
		}
		f, _, err := s.Blob(p.Digest)
		if err != nil {
			return fmt.Errorf("the manifest needs %s, push it first: %w", p.Digest, err)
		}
		f.Close()
	}
	return nil
}

func (s *Store) index() (*v1.IndexManifest, error) {
	f, err := os.Open(filepath.Join(s.dir, "index.json"))
	if errors.Is(err, os.ErrNotExist) {
		return &v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the image index: %w", err)
	}
	defer f.Close()
	index, err := v1.ParseIndexManifest(f)
	if err != nil {
		return nil, fmt.Errorf("read the image index %s: %w", f.Name(), err)
	}
	return index, nil
}

// name points a reference at a manifest.
func (s *Store) name(d v1.Descriptor) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	index, err := s.index()
	if err != nil {
		return err
	}
	ref := d.Annotations[refAnnotation]
	index.Manifests = slices.DeleteFunc(index.Manifests, func(o v1.Descriptor) bool {
		return o.Annotations[refAnnotation] == ref
	})
	index.Manifests = append(index.Manifests, d)
	text, err := json.Marshal(index)
	if err != nil {
		return fmt.Errorf("write the image index: %w", err)
	}
	if err := s.replace(filepath.Join(s.dir, "index.json"), text); err != nil {
		return fmt.Errorf("write the image index: %w", err)
	}
	return nil
}

// lock keeps two processes from writing the index at once. It is held for
// milliseconds and dropped by the kernel if the holder dies.
func (s *Store) lock() (func(), error) {
	f, err := os.OpenFile(filepath.Join(s.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the image index: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the image index: %w", err)
	}
	return func() { f.Close() }, nil
}

// replace writes a small file so that readers see the old or the new one.
func (s *Store) replace(file string, text []byte) error {
	f, err := os.CreateTemp(filepath.Join(s.dir, "uploads"), "file-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(text); err != nil {
		f.Close()
		return err
	}
	if err := errors.Join(f.Sync(), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
