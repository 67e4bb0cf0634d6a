package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Put stores an image and, unless ref is empty, names it.
func (s *Store) Put(ref string, img v1.Image) (v1.Hash, error) {
	return s.put(ref, img, "")
}

func (s *Store) put(ref string, img v1.Image, recipe string) (v1.Hash, error) {
	if ref != "" {
		full, err := Reference(ref)
		if err != nil {
			return v1.Hash{}, err
		}
		ref = full
	}
	layers, err := img.Layers()
	if err != nil {
		return v1.Hash{}, fmt.Errorf("store image %s: %w", ref, err)
	}
	for _, l := range layers {
		if err := s.putLayer(l); err != nil {
			return v1.Hash{}, fmt.Errorf("store image %s: %w", ref, err)
		}
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return v1.Hash{}, fmt.Errorf("store image %s: %w", ref, err)
	}
	if err := s.putText(config); err != nil {
		return v1.Hash{}, fmt.Errorf("store image %s: %w", ref, err)
	}
	text, err := img.RawManifest()
	if err != nil {
		return v1.Hash{}, fmt.Errorf("store image %s: %w", ref, err)
	}
	kind, err := img.MediaType()
	if err != nil {
		return v1.Hash{}, fmt.Errorf("store image %s: %w", ref, err)
	}
	digest, err := s.putManifest(ref, text, kind, recipe)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("store image %s: %w", ref, err)
	}
	return digest, nil
}

// putLayer copies a layer unless the store has it or it must not be copied.
func (s *Store) putLayer(l v1.Layer) error {
	kind, err := l.MediaType()
	if err != nil {
		return err
	}
	if !kind.IsDistributable() {
		return nil
	}
	digest, err := l.Digest()
	if err != nil {
		return err
	}
	if f, _, err := s.Blob(digest); err == nil {
		return f.Close()
	}
	r, err := l.Compressed()
	if err != nil {
		return err
	}
	defer r.Close()
	return s.putBlob(r, digest)
}

func (s *Store) putText(text []byte) error {
	_, _, err := s.WriteBlob(bytes.NewReader(text))
	return err
}

func (s *Store) putBlob(r io.Reader, digest v1.Hash) error {
	u, err := s.Upload()
	if err != nil {
		return err
	}
	if _, err := io.Copy(u, r); err != nil {
		u.Abort()
		return fmt.Errorf("copy blob %s: %w", digest, err)
	}
	_, _, err = u.Commit(digest)
	return err
}

// putIndex stores an image for several platforms. A platform whose manifest is
// not there is left out, as in what docker save writes for one platform.
func (s *Store) putIndex(ref string, index v1.ImageIndex) (v1.Hash, error) {
	m, err := index.IndexManifest()
	if err != nil {
		return v1.Hash{}, fmt.Errorf("store image %s: %w", ref, err)
	}
	stored := 0
	for _, d := range m.Manifests {
		err := s.putChild(index, d)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return v1.Hash{}, fmt.Errorf("store image %s: %w", ref, err)
		}
		stored++
	}
	if stored == 0 {
		return v1.Hash{}, fmt.Errorf("store image %s: no platform of its index is there", ref)
	}
	text, err := index.RawManifest()
	if err != nil {
		return v1.Hash{}, fmt.Errorf("store image %s: %w", ref, err)
	}
	kind, err := index.MediaType()
	if err != nil {
		return v1.Hash{}, fmt.Errorf("store image %s: %w", ref, err)
	}
	digest, err := s.keep(ref, text, kind, "")
	if err != nil {
		return v1.Hash{}, fmt.Errorf("store image %s: %w", ref, err)
	}
	return digest, nil
}

func (s *Store) putChild(index v1.ImageIndex, d v1.Descriptor) error {
	switch {
	case d.MediaType.IsIndex():
		child, err := index.ImageIndex(d.Digest)
		if err != nil {
			return err
		}
		_, err = s.putIndex("", child)
		return err
	case d.MediaType.IsImage():
		child, err := index.Image(d.Digest)
		if err != nil {
			return err
		}
		_, err = s.Put("", child)
		return err
	}
	return fmt.Errorf("an index entry of type %q is not an image", d.MediaType)
}
