// Package cgroup keeps one subtree of control groups, on cgroup v1, v2 or a
// mix of both, under the single folder name given to Open at the root of every
// hierarchy. Call Open, then Group.Make for each part of it; Group.Remove kills
// nothing but takes away what has ended. It changes no group outside its subtree.
package cgroup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Group is one folder in every mounted hierarchy.
type Group struct {
	mounts []mount
	path   string
}

type mount struct {
	dir         string
	controllers []string // nil for v2
	v2          bool
}

// Open describes the subtree name, which need not exist yet.
func Open(name string) (*Group, error) {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	g := &Group{path: name}
	for scan := bufio.NewScanner(f); scan.Scan(); {
		fields := strings.Fields(scan.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[1], "/sys/fs/cgroup") {
			continue
		}
		switch fields[2] {
		case "cgroup2":
			g.mounts = append(g.mounts, mount{dir: fields[1], v2: true})
		case "cgroup":
			g.mounts = append(g.mounts, mount{dir: fields[1], controllers: strings.Split(fields[3], ",")})
		}
	}
	if len(g.mounts) == 0 {
		return nil, errors.New("no control group hierarchy is mounted below /sys/fs/cgroup; mount one (on systemd hosts it is there at boot)")
	}
	return g, nil
}

// Child describes a group below g.
func (g *Group) Child(name string) *Group {
	return &Group{mounts: g.mounts, path: g.path + "/" + name}
}

// Make creates the group and everything above it, in every hierarchy.
func (g *Group) Make() error {
	for _, m := range g.mounts {
		dir := m.dir
		for _, part := range strings.Split(g.path, "/") {
			parent := dir
			dir = filepath.Join(dir, part)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("make control group: %w", err)
			}
			if err := m.prepare(parent, dir); err != nil {
				return fmt.Errorf("prepare control group %s: %w", dir, err)
			}
		}
	}
	return nil
}

// prepare makes a new v1 cpuset usable, or hands the parent's v2 controllers down.
func (m mount) prepare(parent, dir string) error {
	if m.v2 {
		available, err := os.ReadFile(filepath.Join(parent, "cgroup.controllers"))
		if err != nil || len(strings.Fields(string(available))) == 0 {
			return err
		}
		return os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+"+strings.Join(strings.Fields(string(available)), " +")), 0)
	}
	if !slices.Contains(m.controllers, "cpuset") {
		return nil
	}
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(parent, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), value, 0); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.clone_children"), []byte("1"), 0)
}

// Weigh says what share of the CPU the group gets among its siblings when there is
// not enough for all: 1 to 10000, as on v2, where a group has 100 unless told.
func (g *Group) Weigh(weight int) error {
	for _, m := range g.mounts {
		file, value := "cpu.shares", weight*1024/100
		if m.v2 {
			file, value = "cpu.weight", weight
		} else if !slices.Contains(m.controllers, "cpu") {
			continue
		}
		path := filepath.Join(m.dir, g.path, file)
		if _, err := os.Stat(path); m.v2 && errors.Is(err, fs.ErrNotExist) {
			continue // another hierarchy has the controller
		}
		if err := os.WriteFile(path, []byte(strconv.Itoa(value)), 0); err != nil {
			return fmt.Errorf("weigh control group %s: %w", g.path, err)
		}
	}
	return nil
}

// AddThread moves the calling thread (v1), so that what it starts is born in g.
// On v2 a thread cannot leave its process: use FD when starting instead.
func (g *Group) AddThread() error {
	tid := strconv.Itoa(syscall.Gettid())
	for _, m := range g.mounts {
		if m.v2 {
			continue
		}
		if err := os.WriteFile(filepath.Join(m.dir, g.path, "tasks"), []byte(tid), 0); err != nil {
			return fmt.Errorf("enter control group %s: %w", g.path, err)
		}
	}
	return nil
}

// Add moves the process pid into g in every hierarchy.
func (g *Group) Add(pid int) error {
	for _, m := range g.mounts {
		if err := os.WriteFile(filepath.Join(m.dir, g.path, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("move process %d into control group %s: %w", pid, g.path, err)
		}
	}
	return nil
}

// OpenV2 opens the group's v2 folder for starting a process in it; nil where
// no v2 hierarchy is mounted.
func (g *Group) OpenV2() (*os.File, error) {
	for _, m := range g.mounts {
		if m.v2 {
			return os.Open(filepath.Join(m.dir, g.path))
		}
	}
	return nil, nil
}

// Freeze stops every process of g and below, or lets them go on.
func (g *Group) Freeze(frozen bool) error {
	for _, m := range g.mounts {
		switch {
		case slices.Contains(m.controllers, "freezer"):
			state := "THAWED"
			if frozen {
				state = "FROZEN"
			}
			return os.WriteFile(filepath.Join(m.dir, g.path, "freezer.state"), []byte(state), 0)
		case m.v2 && len(g.mounts) == 1:
			state := "0"
			if frozen {
				state = "1"
			}
			return os.WriteFile(filepath.Join(m.dir, g.path, "cgroup.freeze"), []byte(state), 0)
		}
	}
	return errors.New("no hierarchy can freeze: mount the freezer controller or cgroup v2")
}

// Remove takes the group and everything below it away, waiting until ctx ends
// for processes that are still ending. An absent group is no error.
func (g *Group) Remove(ctx context.Context) error {
	for {
		var busy error
		for _, m := range g.mounts {
			if err := removeTree(filepath.Join(m.dir, g.path)); err != nil {
				busy = err
			}
		}
		if busy == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove control group: %w", busy)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := syscall.Rmdir(dir); err != nil && err != syscall.ENOENT {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return nil
}

// Exists says whether any hierarchy still has the group.
func (g *Group) Exists() bool {
	for _, m := range g.mounts {
		if _, err := os.Stat(filepath.Join(m.dir, g.path)); err == nil {
			return true
		}
	}
	return false
}

// Processes lists the processes of g and below.
func (g *Group) Processes() []int {
	seen := map[int]bool{}
	for _, m := range g.mounts {
		filepath.WalkDir(filepath.Join(m.dir, g.path), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.Name() != "cgroup.procs" {
				return nil
			}
			body, _ := os.ReadFile(path)
			for _, field := range strings.Fields(string(body)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
					seen[pid] = true
				}
			}
			return nil
		})
	}
	var pids []int
	for pid := range seen {
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	return pids
}

// Children describes the groups below g's child of that name.
func (g *Group) Children(name string) []*Group {
	child := g.Child(name)
	seen := map[string]bool{}
	var list []*Group
	for _, m := range g.mounts {
		entries, _ := os.ReadDir(filepath.Join(m.dir, child.path))
		for _, e := range entries {
			if e.IsDir() && !seen[e.Name()] {
				seen[e.Name()] = true
				list = append(list, child.Child(e.Name()))
			}
		}
	}
	return list
}

// RemoveEmpty takes the group away where nothing is below it.
func (g *Group) RemoveEmpty() error {
	var errs []error
	for _, m := range g.mounts {
		err := syscall.Rmdir(filepath.Join(m.dir, g.path))
		if err != nil && err != syscall.ENOENT {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
