package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// StageName is the first argument with which a node starts its own program
// again, inside its namespaces, to build the machine's view of the world.
const StageName = "stage-node"

// stage is what that program reads from file descriptor 3 once it has been
// placed in its control group.
type stage struct {
	Hostname string
	Disk     string            // the machine's own directory on the host
	ReadOnly map[string]string // host directory to where it is seen in the machine
	Shared   map[string]string // likewise, writable
	Pause    string            // pid 1 of the machine, as seen there
	Files    map[string]string // path below /proc/sys to the value shown there
}

// Where a machine finds its things.
const (
	machineDir  = "/var/lib/nines"
	enginesDir  = "/opt/nines"
	criRoot     = "/var/lib/containerd"
	kubeletRoot = "/var/lib/kubelet"
)

// Stage turns the calling process into pid 1 of a machine and does not return
// unless it fails: it gives the machine a root file system of its own (the
// host's below, the machine's disk above), /proc, /sys, /run and control groups
// of its own, and becomes the pause program, which reaps what is orphaned.
func Stage() error {
	runtime.LockOSThread()
	var s stage
	in, out := os.NewFile(3, "stage"), os.NewFile(4, "result")
	unix.CloseOnExec(4) // its end without a word is the sign that pause has begun
	err := json.NewDecoder(in).Decode(&s)
	in.Close()
	if err == nil {
		err = s.build()
	}
	if err == nil {
		err = unix.Exec(s.Pause, []string{"pause"}, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"})
	}
	err = fmt.Errorf("stage %s: %w", s.Hostname, err)
	fmt.Fprint(out, err)
	return err
}

func (s stage) build() error {
	hierarchies, err := hierarchiesOfSelf()
	if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("new control group namespace: %w", err)
	}
	if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
		return fmt.Errorf("set hostname: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	root := filepath.Join(s.Disk, "root")
	if err := s.mountRoot(root); err != nil {
		return err
	}
	if err := pivot(root); err != nil {
		return err
	}
	if err := mountControlGroups(hierarchies); err != nil {
		return err
	}
	for path, value := range s.Files {
		if err := s.show(path, value); err != nil {
			return err
		}
	}
	// Volumes that a container mounts for others must be seen by them.
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

func (s stage) mountRoot(root string) error {
	upper, work := filepath.Join(s.Disk, "upper"), filepath.Join(s.Disk, "work")
	for _, dir := range []string{root, upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("overlay", root, "overlay", 0, "lowerdir=/,upperdir="+upper+",workdir="+work); err != nil {
		return fmt.Errorf("overlay root: %w", err)
	}
	mounts := []struct {
		kind, at, options string
		flags             uintptr
	}{
		{"proc", "/proc", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"sysfs", "/sys", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"tmpfs", "/run", "mode=755,size=256m", unix.MS_NOSUID | unix.MS_NODEV},
		{"tmpfs", "/tmp", "mode=1777,size=256m", unix.MS_NOSUID | unix.MS_NODEV},
		{"tmpfs", "/root", "mode=700,size=16m", unix.MS_NOSUID | unix.MS_NODEV}, // the host's stay unseen
		{"tmpfs", "/home", "mode=755,size=16m", unix.MS_NOSUID | unix.MS_NODEV},
	}
	for _, m := range mounts {
		at := filepath.Join(root, m.at)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, at, m.kind, m.flags, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	if err := unix.Mount("/dev", filepath.Join(root, "dev"), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind /dev: %w", err)
	}
	own := map[string]string{
		filepath.Join(s.Disk, "etc"):        machineDir,
		filepath.Join(s.Disk, "containerd"): criRoot,
		filepath.Join(s.Disk, "kubelet"):    kubeletRoot,
		filepath.Join(s.Disk, "log"):        "/var/log",
	}
	for from, at := range s.Shared {
		own[from] = at
	}
	for from, at := range own {
		if err := os.MkdirAll(from, 0o755); err != nil {
			return err
		}
		if err := bind(from, filepath.Join(root, at), false); err != nil {
			return err
		}
	}
	for from, at := range s.ReadOnly {
		if err := bind(from, filepath.Join(root, at), true); err != nil {
			return err
		}
	}
	return nil
}

func bind(from, at string, readOnly bool) error {
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(from, at, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", at, err)
	}
	if !readOnly {
		return nil
	}
	if err := unix.Mount("", at, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("make %s read-only: %w", at, err)
	}
	return nil
}

func pivot(root string) error {
	if err := unix.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the host's root: %w", err)
	}
	return unix.Chdir("/")
}

// hierarchiesOfSelf lists what /proc/self/cgroup has: v1 hierarchies by their
// mount options, "" for v2.
func hierarchiesOfSelf() ([]string, error) {
	body, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	var list []string
	for _, line := range strings.Split(strings.TrimSpace(string(body)), "\n") {
		if parts := strings.SplitN(line, ":", 3); len(parts) == 3 {
			list = append(list, parts[1])
		}
	}
	return list, nil
}

// mountControlGroups mounts each hierarchy anew, so that its root is the
// machine's own group. Without that every node's kubelet sees the containers of
// all nodes, and the dead ones that a power cut left.
func mountControlGroups(hierarchies []string) error {
	const root = "/sys/fs/cgroup"
	if len(hierarchies) == 1 && hierarchies[0] == "" {
		if err := unix.Mount("cgroup2", root, "cgroup2", 0, ""); err != nil {
			return fmt.Errorf("mount control groups: %w", err)
		}
		return enterLeaf(root)
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "mode=755,size=1m"); err != nil {
		return fmt.Errorf("mount control groups: %w", err)
	}
	for _, h := range hierarchies {
		name, kind, options := strings.TrimPrefix(h, "name="), "cgroup", h
		if h == "" {
			name, kind = "unified", "cgroup2"
		}
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if strings.HasPrefix(h, "name=") {
			options = "none," + h
		}
		err := unix.Mount(kind, dir, kind, 0, options)
		if err != nil {
			return fmt.Errorf("mount control group hierarchy %q: %w", h, err)
		}
		if err := enterLeaf(dir); err != nil {
			return err
		}
	}
	return nil
}

// enterLeaf leaves the root of a hierarchy free of processes: cgroup v2 hands
// controllers down only from such a group.
func enterLeaf(hierarchy string) error {
	leaf := filepath.Join(hierarchy, systemGroup)
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make control group: %w", err)
	}
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} { // v1 lets nobody into an empty set
		value, err := os.ReadFile(filepath.Join(hierarchy, name))
		if err != nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(leaf, name), value, 0); err != nil {
			return fmt.Errorf("prepare control group: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte("0"), 0); err != nil {
		return fmt.Errorf("enter control group: %w", err)
	}
	return nil
}

// show binds a file with the wanted value over a kernel parameter that belongs
// to the whole host: the kubelet insists on it, the host keeps its own.
func (s stage) show(path, value string) error {
	file := filepath.Join(machineDir, "sysctl", strings.ReplaceAll(path, "/", "."))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
		return err
	}
	err := unix.Mount(file, "/proc/sys/"+path, "", unix.MS_BIND, "")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("show %s: %w", path, err)
	}
	return nil
}
