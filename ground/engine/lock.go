package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lock holds dir for one builder on this machine. wait is told, once, who has
// it when that is someone else. The kernel drops it if the holder dies.
func lock(ctx context.Context, dir string, wait func(holder string)) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	told := false
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		if !told {
			told = true
			holder, _ := io.ReadAll(io.NewSectionReader(f, 0, 64))
			wait(strings.TrimSpace(string(holder)))
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for the other build: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
	if err := f.Truncate(0); err == nil {
		fmt.Fprintf(f, "process %d\n", os.Getpid())
	}
	return func() { f.Close() }, nil
}

// publish makes a finished directory visible under its final name. The files
// reach the disk before the name does, so a power cut leaves all or nothing.
func publish(staging, final string) error {
	err := filepath.WalkDir(staging, func(p string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Sync()
	})
	if err != nil {
		return err
	}
	return os.Rename(staging, final)
}

// stage makes an empty directory for a build and removes what builds that died
// left; call it with the lock held.
func stage(dir string) (string, error) {
	left, err := filepath.Glob(filepath.Join(dir, ".staging-*"))
	if err != nil {
		return "", err
	}
	for _, l := range left {
		if err := os.RemoveAll(l); err != nil {
			return "", err
		}
	}
	staging, err := os.MkdirTemp(dir, ".staging-")
	if err != nil {
		return "", err
	}
	// Programs of other users run from here, once it is published.
	return staging, os.Chmod(staging, 0o755)
}
