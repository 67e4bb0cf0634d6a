package ground

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nines-ha/nines/ground/world"
)

// home is the directory of one ground, named after its system:
//
//	lock         held by the owner while it lives
//	control.sock where the owner answers
//	kubeconfig   for administrators; gone after a run
//	run/         what ends with a run
//	data/        what stays: the stores' data, the platform's repository
//	logs/        of the last run
type home struct{ dir string }

// States is where grounds are kept: nines in the user's state directory.
func States() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "nines"), nil
	}
	user, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the state directory: %w; set XDG_STATE_HOME", err)
	}
	return filepath.Join(user, ".local", "state", "nines"), nil
}

var validName = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)

func homeOf(name string) (home, error) {
	states, err := States()
	if err != nil {
		return home{}, err
	}
	if !validName.MatchString(name) {
		return home{}, fmt.Errorf("%q is not the name of a system: a name has small letters, digits and dashes, and begins with a letter", name)
	}
	h := home{filepath.Join(states, name)}
	const longest = 107 // of the kernel, for a socket
	if socket := h.world("").ControlSocket(); len(socket) > longest {
		return home{}, fmt.Errorf("the path of the control socket is longer than %d bytes: %s; set XDG_STATE_HOME to a shorter directory", longest, socket)
	}
	return h, nil
}

func (h home) lock() string       { return filepath.Join(h.dir, "lock") }
func (h home) socket() string     { return filepath.Join(h.dir, "control.sock") }
func (h home) kubeconfig() string { return filepath.Join(h.dir, "kubeconfig") }
func (h home) run() string        { return filepath.Join(h.dir, "run") }
func (h home) data() string       { return filepath.Join(h.dir, "data") }
func (h home) logs() string       { return filepath.Join(h.dir, "logs") }

func (h home) world(cache string) world.Dirs {
	return world.Dirs{Cache: cache, Run: h.run(), Data: h.data(), Logs: h.logs()}
}

// group is the control group of a ground, at the root of each hierarchy. Two
// state directories may hold grounds of the same name, which must not take each
// other for what an earlier run has left.
func group(name string) string {
	h, _ := homeOf(name) // who needs the directory itself has had the error
	sum := sha256.Sum256([]byte(h.dir))
	return fmt.Sprintf("nines/%s-%x", name, sum[:4])
}

// Names lists the grounds that have a directory, running or not.
func Names() ([]string, error) {
	states, err := States()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(states)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// leastRoom is what a run writes at the least: etcd alone sets 64 MB aside for its
// log, in each region.
const leastRoom = 1 << 30

// room refuses a disk that is full, before programs end for want of it and say so
// only in the middle of what else they say.
func (h home) room() error {
	var stat unix.Statfs_t
	if err := unix.Statfs(h.dir, &stat); err != nil {
		return fmt.Errorf("look for room in %s: %w", h.dir, err)
	}
	if free := stat.Bavail * uint64(stat.Bsize); free < leastRoom {
		return fmt.Errorf("%d MiB are free in %s, and a run needs %d MiB there: make room, or set XDG_STATE_HOME to a directory on a larger disk", free>>20, h.dir, leastRoom>>20)
	}
	return nil
}

// waitUnlocked returns when no owner holds the lock.
func (h home) waitUnlocked(ctx context.Context) error {
	f, err := os.OpenFile(h.lock(), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the owner is still ending: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Clean takes away what a ground that nobody owns any more has left, and its
// data too when purge is set. It refuses while an owner lives.
func Clean(ctx context.Context, name string, purge bool) error {
	h, err := homeOf(name)
	if err != nil {
		return err
	}
	if _, err := os.Stat(h.dir); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrUnknown, name)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := h.waitUnlocked(ctx); err != nil {
		return err
	}
	if err := clean(name); err != nil {
		return err
	}
	if !purge {
		return nil
	}
	return removeAll(h.dir)
}
