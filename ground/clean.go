package ground

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nines-ha/nines/internal/cgroup"
)

// clean takes away whatever a run has left: its processes, found by their
// control group, then the group, the files of the run and the sockets. It keeps
// data and logs. It is safe at any time when no owner lives, and safe twice.
func clean(name string) error {
	h, err := homeOf(name)
	if err != nil {
		return err
	}
	g, err := cgroup.Open(group(name))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if g.Exists() {
		thaw(name)
		for ctx.Err() == nil {
			pids := g.Processes()
			if len(pids) == 0 {
				break
			}
			for _, pid := range pids {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			time.Sleep(5 * time.Millisecond)
		}
		if err := g.Remove(ctx); err != nil {
			return err
		}
	}
	parent, err := cgroup.Open("nines")
	if err == nil {
		_ = parent.RemoveEmpty()
	}
	var errs []error
	for _, path := range []string{h.run(), h.socket(), h.kubeconfig()} {
		if err := removeAll(path); err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}

// thaw lets every machine and managed service that hangs go on: on cgroup v1 a frozen process dies
// only once it thaws, and a world ends only when all its processes have.
func thaw(name string) {
	g, err := cgroup.Open(group(name))
	if err != nil {
		return
	}
	for _, kind := range []string{"nodes", "stores", "managed"} {
		for _, frozen := range g.Children(kind) {
			_ = frozen.Freeze(false)
		}
	}
}

// removeAll removes a tree but refuses to follow what is still mounted in it.
func removeAll(path string) error {
	err := filepath.WalkDir(path, func(p string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() || p == path {
			return nil
		}
		var at, above unix.Stat_t
		if unix.Lstat(p, &at) == nil && unix.Lstat(filepath.Dir(p), &above) == nil && at.Dev != above.Dev {
			return fmt.Errorf("%s is still mounted; unmount it and try again", p)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return os.RemoveAll(path)
}
