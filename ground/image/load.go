package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Load takes the images of a file or folder into the store and returns their
// references: an OCI image layout as a folder or a tar, or what docker save
// writes. as names an image that has no name of its own.
func (s *Store) Load(source, as string) ([]string, error) {
	info, err := os.Stat(source)
	if err != nil {
		return nil, fmt.Errorf("load images: %w", err)
	}
	if info.IsDir() {
		return s.loadLayout(source, as)
	}
	isLayout, err := tarHas(source, "oci-layout")
	if err != nil {
		return nil, fmt.Errorf("load %s: %w (expected a tar of an OCI image layout, or of docker save)", source, err)
	}
	if !isLayout {
		return s.loadDocker(source, as)
	}
	dir, err := os.MkdirTemp(filepath.Join(s.dir, "uploads"), "layout-")
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", source, err)
	}
	defer os.RemoveAll(dir)
	if err := untar(source, dir); err != nil {
		return nil, fmt.Errorf("load %s: %w", source, err)
	}
	return s.loadLayout(dir, as)
}

// nameAnnotations hold the name of an image in a layout's index; containerd's
// comes first because it is always in full.
var nameAnnotations = []string{"io.containerd.image.name", refAnnotation}

func (s *Store) loadLayout(dir, as string) ([]string, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("read the OCI image layout %s: %w", dir, err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("read the OCI image layout %s: %w", dir, err)
	}
	if len(m.Manifests) == 0 {
		return nil, fmt.Errorf("the OCI image layout %s has no image", dir)
	}
	var loaded []string
	for _, d := range m.Manifests {
		ref, err := loadedName(d, as, len(m.Manifests))
		if err != nil {
			return loaded, err
		}
		if d.MediaType.IsIndex() {
			child, err := index.ImageIndex(d.Digest)
			if err == nil {
				_, err = s.putIndex(ref, child)
			}
			if err != nil {
				return loaded, fmt.Errorf("load %s: %w", ref, err)
			}
		} else {
			child, err := index.Image(d.Digest)
			if err == nil {
				_, err = s.Put(ref, child)
			}
			if err != nil {
				return loaded, fmt.Errorf("load %s: %w", ref, err)
			}
		}
		loaded = append(loaded, ref)
	}
	return loaded, nil
}

func loadedName(d v1.Descriptor, as string, images int) (string, error) {
	if as != "" {
		if images > 1 {
			return "", fmt.Errorf("%d images cannot all be called %s; leave --as out", images, as)
		}
		return Reference(as)
	}
	for _, a := range nameAnnotations {
		// A bare tag is allowed there and names nothing.
		if n := d.Annotations[a]; strings.ContainsAny(n, ":/") {
			return Reference(n)
		}
	}
	return "", fmt.Errorf("image %s has no name in its layout; give it one with --as NAME:TAG", d.Digest)
}

func (s *Store) loadDocker(source, as string) ([]string, error) {
	opener := func() (io.ReadCloser, error) { return os.Open(source) }
	manifest, err := tarball.LoadManifest(opener)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w (expected a tar of an OCI image layout, or of docker save)", source, err)
	}
	if as != "" {
		full, err := Reference(as)
		if err != nil {
			return nil, err
		}
		img, err := tarball.Image(opener, nil)
		if err != nil {
			return nil, fmt.Errorf("load %s: %w", source, err)
		}
		if _, err := s.Put(full, img); err != nil {
			return nil, err
		}
		return []string{full}, nil
	}
	var loaded []string
	for _, d := range manifest {
		for _, t := range d.RepoTags {
			loaded, err = s.loadTag(opener, t, loaded)
			if err != nil {
				return loaded, fmt.Errorf("load %s: %w", source, err)
			}
		}
	}
	if len(loaded) == 0 {
		return nil, fmt.Errorf("%s has no named image; give it one with --as NAME:TAG", source)
	}
	return loaded, nil
}

func (s *Store) loadTag(opener tarball.Opener, tag string, loaded []string) ([]string, error) {
	full, err := Reference(tag)
	if err != nil {
		return loaded, err
	}
	at, err := parseTag(tag)
	if err != nil {
		return loaded, err
	}
	img, err := tarball.Image(opener, &at)
	if err != nil {
		return loaded, err
	}
	if _, err := s.Put(full, img); err != nil {
		return loaded, err
	}
	return append(loaded, full), nil
}

func tarHas(file, want string) (bool, error) {
	f, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if filepath.Clean(h.Name) == want {
			return true, nil
		}
	}
}

// untar unpacks the regular files of a layout; names stay inside dir.
func untar(file, dir string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if err := root.MkdirAll(filepath.Dir(filepath.Clean(h.Name)), 0o755); err != nil {
			return err
		}
		out, err := root.Create(filepath.Clean(h.Name))
		if err != nil {
			return err
		}
		_, err = io.Copy(out, r)
		if err := errors.Join(err, out.Close()); err != nil {
			return err
		}
	}
}
