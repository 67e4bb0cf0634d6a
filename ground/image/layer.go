package image

import (
	"archive/tar"
	"bufio"
	"fmt"
	"io"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// epoch is the time of every file in our images, so that the same content has
// the same digest.
var epoch = time.Unix(0, 0).UTC()

// layer is a blob of the store that holds an uncompressed tar: a pull is a
// copy over loopback, where compressing costs more than it saves.
type layer struct {
	store  *Store
	digest v1.Hash
	size   int64
}

func (l layer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l layer) DiffID() (v1.Hash, error)             { return l.digest, nil }
func (l layer) Size() (int64, error)                 { return l.size, nil }
func (l layer) MediaType() (types.MediaType, error)  { return types.OCIUncompressedLayer, nil }
func (l layer) Uncompressed() (io.ReadCloser, error) { return l.Compressed() }
func (l layer) Compressed() (r io.ReadCloser, err error) {
	r, _, err = l.store.Blob(l.digest)
	return r, err
}

// writeLayer stores what fill writes as a layer.
func (s *Store) writeLayer(fill func(*tar.Writer) error) (layer, error) {
	u, err := s.Upload()
	if err != nil {
		return layer{}, err
	}
	buffered := bufio.NewWriterSize(u, 1<<20)
	w := tar.NewWriter(buffered)
	for _, step := range []func() error{func() error { return fill(w) }, w.Close, buffered.Flush} {
		if err := step(); err != nil {
			u.Abort()
			return layer{}, fmt.Errorf("write a layer: %w", err)
		}
	}
	digest, size, err := u.Commit(v1.Hash{})
	return layer{s, digest, size}, err
}

// file is an entry of a small layer; exactly one of Text, From, Link, Dir is set.
type file struct {
	Path         string // without the leading slash
	Mode         int64
	UID, GID     int
	Text         []byte
	From         string // a file on this machine
	Link         string // what a symbolic link stands for
	Dir          bool
	Capabilities []byte // as in security.capability
}

func (f file) write(w *tar.Writer) error {
	h := &tar.Header{
		Name: f.Path, Mode: f.Mode, Uid: f.UID, Gid: f.GID, ModTime: epoch,
		Typeflag: tar.TypeReg, Size: int64(len(f.Text)), Format: tar.FormatPAX,
	}
	if f.Capabilities != nil {
		h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": string(f.Capabilities)}
	}
	if f.Dir {
		h.Typeflag, h.Name = tar.TypeDir, f.Path+"/"
		return w.WriteHeader(h)
	}
	if f.Link != "" {
		h.Typeflag, h.Linkname = tar.TypeSymlink, f.Link
		return w.WriteHeader(h)
	}
	if f.From == "" {
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err := w.Write(f.Text)
		return err
	}
	in, err := os.Open(f.From)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	h.Size = info.Size()
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(w, in)
	return err
}

func (s *Store) layerOf(files ...file) (layer, error) {
	return s.writeLayer(func(w *tar.Writer) error {
		for _, f := range files {
			if err := f.write(w); err != nil {
				return fmt.Errorf("add %s: %w", f.Path, err)
			}
		}
		return nil
	})
}
