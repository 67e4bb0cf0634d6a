package image

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Blob opens a blob; the caller closes it.
func (s *Store) Blob(digest v1.Hash) (*os.File, int64, error) {
	if digest.Algorithm != "sha256" {
		return nil, 0, fmt.Errorf("blob %s: %w", digest, ErrNotFound)
	}
	f, err := os.Open(s.blobFile(digest))
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, fmt.Errorf("blob %s: %w", digest, ErrNotFound)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("open blob %s: %w", digest, err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("open blob %s: %w", digest, err)
	}
	return f, info.Size(), nil
}

func (s *Store) blobFile(digest v1.Hash) string {
	return filepath.Join(s.dir, "blobs", digest.Algorithm, digest.Hex)
}

// WriteBlob stores what r holds and returns its digest.
func (s *Store) WriteBlob(r io.Reader) (v1.Hash, int64, error) {
	u, err := s.Upload()
	if err != nil {
		return v1.Hash{}, 0, err
	}
	if _, err := io.Copy(u, r); err != nil {
		u.Abort()
		return v1.Hash{}, 0, fmt.Errorf("store a blob: %w", err)
	}
	return u.Commit(v1.Hash{})
}

// Upload is a blob on its way in. One goroutine writes it, then Commit or
// Abort ends it.
type Upload struct {
	store *Store
	file  *os.File
	sum   hash.Hash
	size  int64
}

// Upload begins a blob whose digest is not known yet.
func (s *Store) Upload() (*Upload, error) {
	f, err := os.CreateTemp(filepath.Join(s.dir, "uploads"), "blob-")
	if err != nil {
		return nil, fmt.Errorf("store a blob: %w", err)
	}
	return &Upload{store: s, file: f, sum: sha256.New()}, nil
}

// Size is how much has been written.
func (u *Upload) Size() int64 { return u.size }

func (u *Upload) Write(p []byte) (int, error) {
	n, err := u.file.Write(p)
	u.sum.Write(p[:n])
	u.size += int64(n)
	return n, err
}

// Commit makes the blob readable under its digest, which has to be want unless
// that is zero.
func (u *Upload) Commit(want v1.Hash) (v1.Hash, int64, error) {
	digest := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(u.sum.Sum(nil))}
	if want != (v1.Hash{}) && want != digest {
		u.Abort()
		return digest, u.size, fmt.Errorf("the blob is %s and not %s", digest, want)
	}
	final := u.store.blobFile(digest)
	if _, err := os.Stat(final); err == nil {
		u.Abort()
		return digest, u.size, nil
	}
	if err := errors.Join(u.file.Sync(), u.file.Chmod(0o644), u.file.Close()); err != nil {
		os.Remove(u.file.Name())
		return digest, u.size, fmt.Errorf("store blob %s: %w", digest, err)
	}
	if err := os.Rename(u.file.Name(), final); err != nil {
		os.Remove(u.file.Name())
		return digest, u.size, fmt.Errorf("store blob %s: %w", digest, err)
	}
	return digest, u.size, nil
}

// Abort forgets the blob.
func (u *Upload) Abort() {
	u.file.Close()
	os.Remove(u.file.Name())
}
