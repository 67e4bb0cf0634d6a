// Package overlay gives a program a root file system of its own: what it writes lies
// over a shared root, which stays as it is. Call Mount, mount into Path what else it
// is to see, and Unmount all of it. It needs root, and mounts in the caller's mount
// namespace.
package overlay

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Path is where a path of the root is found, in the directory that Mount was given.
func Path(dir, inRoot string) string { return filepath.Join(dir, "root", inRoot) }

// Mount makes the root in a directory, over a shared one.
func Mount(dir, shared string) error {
	upper, work, root := filepath.Join(dir, "upper"), filepath.Join(dir, "work"), Path(dir, "/")
	for _, d := range []string{upper, work, root} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("overlay", root, "overlay", unix.MS_NOSUID, "lowerdir="+shared+",upperdir="+upper+",workdir="+work); err != nil {
		return fmt.Errorf("mount %s: %w", root, err)
	}
	return nil
}

// Unmount takes away what was mounted at these paths of the root, in their order, and
// then the root. What is not mounted is passed over.
func Unmount(dir string, inRoot ...string) error {
	var errs []error
	for _, at := range append(inRoot, "/") {
		err := unix.Unmount(Path(dir, at), unix.MNT_DETACH)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", at, err))
		}
	}
	return errors.Join(errs...)
}
