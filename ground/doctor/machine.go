package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Machine is what the checks may look at and try. Here returns the real one.
type Machine struct {
	Files fs.FS // the root file system
	UID   int
	CPUs  int
	Cache string // folder of engines and images; need not exist yet
	State string // folder of what clusters keep, data and logs, likewise

	LookPath func(name string) (string, error)
	// Run runs a command and returns what it printed.
	Run func(ctx context.Context, name string, args ...string) (string, error)
	// Isolated runs a command in new namespaces, given as clone flags.
	Isolated func(ctx context.Context, namespaces uintptr, stdin, name string, args ...string) error
	// Overlay mounts an overlay below dir, for the time of one process.
	Overlay func(ctx context.Context, dir string) error
	// Cgroup makes a control group below dir and removes it.
	Cgroup func(dir string) error
	Free   func(dir string) (uint64, error) // bytes
	Listen func(address string) error
}

// Here returns the machine that the program runs on. The ground will write to
// cache and state.
func Here(cache, state string) *Machine {
	return &Machine{
		Files:    os.DirFS("/"),
		UID:      os.Geteuid(),
		CPUs:     runtime.NumCPU(),
		Cache:    cache,
		State:    state,
		LookPath: exec.LookPath,
		Run:      run,
		Isolated: isolated,
		Overlay:  overlay,
		Cgroup:   cgroup,
		Free:     free,
		Listen:   listen,
	}
}

func run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := bounded(ctx, name, args...).Output()
	return strings.TrimSpace(string(out)), err
}

// bounded gives a command a quiet second to let go of its pipes once it is
// killed.
func bounded(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	return cmd
}

func isolated(ctx context.Context, namespaces uintptr, stdin, name string, args ...string) error {
	cmd := bounded(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	return runIn(cmd, namespaces)
}

func runIn(cmd *exec.Cmd, namespaces uintptr) error {
	// A pid namespace begins with the next child, so it must come from clone.
	// The rest comes from unshare, for which os/exec makes every mount private
	// first: a mount in the child must not appear on the host.
	cmd.SysProcAttr = &unix.SysProcAttr{
		Cloneflags:   namespaces & unix.CLONE_NEWPID,
		Unshareflags: namespaces &^ unix.CLONE_NEWPID,
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		if line, _, _ := strings.Cut(strings.TrimSpace(out.String()), "\n"); line != "" {
			return fmt.Errorf("%s: %s", filepath.Base(cmd.Path), line)
		}
		return err
	}
	return nil
}

// overlay tries the file system that dir is on, because an overlay does not
// work on top of every one (another overlay, for example).
func overlay(ctx context.Context, dir string) (err error) {
	scratch, err := os.MkdirTemp(existing(dir), ".nines-doctor-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(scratch, name), 0o700); err != nil {
			return err
		}
	}
	cmd := bounded(ctx, "mount", "-t", "overlay", "-o", "lowerdir=lower,upperdir=upper,workdir=work", "nines", "merged")
	cmd.Dir = scratch // relative names, so that no comma or colon of the path is read as an option
	return runIn(cmd, unix.CLONE_NEWNS)
}

func cgroup(dir string) error {
	name := filepath.Join(dir, fmt.Sprintf("nines-doctor-%d", os.Getpid()))
	if err := os.Mkdir(name, 0o755); err != nil {
		return err
	}
	return os.Remove(name)
}

func free(dir string) (uint64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(existing(dir), &stat); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return stat.Bavail * uint64(stat.Bsize), nil
}

func listen(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return l.Close()
}

// existing returns the nearest parent that is there.
func existing(dir string) string {
	for {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return dir
		}
		dir = parent
	}
}
