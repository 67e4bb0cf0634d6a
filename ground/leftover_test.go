//go:build ground

package ground

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nines-ha/nines/ground/world"
	"github.com/nines-ha/nines/internal/cgroup"
	"github.com/nines-ha/nines/internal/namespace"
)

// footprint is what a running ground is made of, to look for after its end.
type footprint struct {
	name, state string
	namespaces  map[string]bool // "net:[4026531840]"
}

// takeFootprint may be called at any moment of a ground's life, also before.
func takeFootprint(name, state string) footprint {
	f := footprint{name: name, state: state, namespaces: map[string]bool{}}
	host := map[string]bool{}
	for _, ns := range namespacesOf(os.Getpid()) {
		host[ns] = true
	}
	g, err := cgroup.Open(group(name))
	if err != nil {
		return f
	}
	for _, pid := range g.Processes() {
		for _, ns := range namespacesOf(pid) {
			if !host[ns] {
				f.namespaces[ns] = true
			}
		}
	}
	return f
}

// namespacesOf are those that a process is in or holds open.
func namespacesOf(pid int) []string {
	var list []string
	for _, pattern := range []string{"ns/*", "fd/*", "task/*/ns/net"} {
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/%s", pid, pattern))
		for _, link := range links {
			if target, err := os.Readlink(link); err == nil && strings.Contains(target, ":[") && !strings.HasPrefix(target, "socket") && !strings.HasPrefix(target, "pipe") && !strings.HasPrefix(target, "anon_inode") {
				list = append(list, target)
			}
		}
	}
	return list
}

// left lists what is still there of a ground that has ended.
func (f footprint) left() []string {
	var left []string
	say := func(format string, args ...any) { left = append(left, fmt.Sprintf(format, args...)) }
	groups, _ := filepath.Glob("/sys/fs/cgroup/" + group(f.name))
	v1, _ := filepath.Glob("/sys/fs/cgroup/*/" + group(f.name))
	for _, dir := range append(groups, v1...) {
		say("control group %s", dir)
	}
	for _, pid := range processes() {
		command := commandLine(pid)
		switch {
		case pid == os.Getpid():
		case bytes.Contains(command, []byte(f.state)):
			say("process %d: %s", pid, printable(command))
		case slices.Contains([]string{guardStage, world.StageName}, secondWord(command)) && strings.Contains(environment(pid), f.state):
			say("process %d: %s", pid, printable(command))
		}
		if otherGround(pid, f.name) {
			continue // the kernel gives the numbers of ended namespaces out again
		}
		for _, ns := range namespacesOf(pid) {
			if f.namespaces[ns] {
				say("namespace %s, held by process %d: %s", ns, pid, printable(command))
			}
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for _, line := range strings.Split(string(mounts), "\n") {
		if strings.Contains(line, f.state) {
			say("mount %s", line)
		}
	}
	sockets, _ := os.ReadFile("/proc/net/unix")
	for _, line := range strings.Split(string(sockets), "\n") {
		if strings.Contains(line, f.state) {
			say("socket %s", line)
		}
	}
	home := filepath.Join(f.state, "nines", f.name)
	for _, path := range []string{"run", "control.sock", "kubeconfig"} {
		if _, err := os.Lstat(filepath.Join(home, path)); err == nil {
			say("file %s", filepath.Join(home, path))
		}
	}
	return left
}

func otherGround(pid int, name string) bool {
	body, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return bytes.Contains(body, []byte("/nines/")) && !bytes.Contains(body, []byte("/"+group(name)+"/"))
}

func (f footprint) expectNothing(t *testing.T, after string) {
	t.Helper()
	if left := f.left(); len(left) > 0 {
		t.Errorf("after %s is left:\n  %s", after, strings.Join(left, "\n  "))
	}
}

// expectGone waits for the guard, which works after its owner, and no longer.
func (f footprint) expectGone(t *testing.T, after string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := (home{filepath.Join(f.state, "nines", f.name)}).waitUnlocked(ctx); err != nil {
		t.Fatalf("after %s: %v", after, err)
	}
	// The lock is free a moment before the guard's process is.
	for len(f.left()) > 0 && ctx.Err() == nil && len(f.guards()) > 0 {
		time.Sleep(5 * time.Millisecond)
	}
	f.expectNothing(t, after)
}

func (f footprint) guards() (pids []int) {
	for _, pid := range processes() {
		if secondWord(commandLine(pid)) == guardStage && strings.Contains(environment(pid), f.state) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// processes are those that have not ended, of the whole machine.
func processes() []int {
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || len(commandLine(pid)) == 0 { // also those that nobody has waited for
			continue
		}
		pids = append(pids, pid)
	}
	return pids
}

func commandLine(pid int) []byte {
	body, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return body
}

func environment(pid int) string {
	body, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return string(body)
}

func secondWord(command []byte) string {
	words := bytes.SplitN(command, []byte{0}, 3)
	if len(words) < 2 {
		return ""
	}
	return string(words[1])
}

func printable(command []byte) string {
	return string(bytes.TrimSpace(bytes.ReplaceAll(command, []byte{0}, []byte{' '})))
}

// worldPID is pid 1 of a running ground, as the host counts.
func worldPID(name string) int {
	g, err := cgroup.Open(group(name))
	if err != nil {
		return 0
	}
	for _, pid := range g.Child("system").Processes() {
		if secondWord(commandLine(pid)) == world.StageName {
			return pid
		}
	}
	return 0
}

// backbone is the network of a running ground where clients are; close it before
// the ground's end is looked at.
func backbone(t *testing.T, name string) *namespace.Set {
	t.Helper()
	set, err := namespace.NetOf(worldPID(name))
	if err != nil {
		t.Fatal(err)
	}
	return set
}
