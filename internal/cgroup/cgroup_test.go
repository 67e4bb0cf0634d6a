package cgroup

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// newGroup is a subtree of the test's own, gone with it.
func newGroup(t *testing.T) *Group {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("control groups need root")
	}
	g, err := Open(fmt.Sprintf("nines-test-%d-%s", os.Getpid(), t.Name()))
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := g.Remove(ctx); err != nil {
			t.Error(err)
		}
	})
	if err := g.Make(); err != nil {
		t.Skipf("no control group may be made here: %v", err)
	}
	return g
}

func sleeper(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

func TestMakeAndRemove(t *testing.T) {
	g := newGroup(t)
	child := g.Child("a").Child("b")
	for range 2 { // Make twice is no error
		if err := child.Make(); err != nil {
			t.Fatal(err)
		}
	}
	if !g.Exists() || !child.Exists() || g.Child("c").Exists() {
		t.Error("Exists is wrong")
	}
	if list := g.Children("a"); len(list) != 1 || list[0].path != child.path {
		t.Errorf("children = %v", list)
	}
	for _, m := range g.mounts {
		if slices.Contains(m.controllers, "cpuset") {
			body, err := os.ReadFile(filepath.Join(m.dir, child.path, "cpuset.cpus"))
			if err != nil || strings.TrimSpace(string(body)) == "" {
				t.Errorf("cpuset.cpus = %q, %v: nobody could enter", body, err)
			}
		}
	}
	for range 2 { // so is Remove
		if err := g.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if g.Exists() {
		t.Error("it is still there")
	}
}

func TestWeigh(t *testing.T) {
	g := newGroup(t)
	if err := g.Make(); err != nil {
		t.Fatal(err)
	}
	if err := g.Weigh(400); err != nil {
		t.Fatal(err)
	}
	found := ""
	for _, m := range g.mounts {
		for file, want := range map[string]string{"cpu.shares": "4096", "cpu.weight": "400"} {
			body, err := os.ReadFile(filepath.Join(m.dir, g.path, file))
			if err != nil {
				continue
			}
			found = file
			if got := strings.TrimSpace(string(body)); got != want {
				t.Errorf("%s = %s, want %s", file, got, want)
			}
		}
	}
	if found == "" {
		t.Error("no hierarchy weighs CPU")
	}
}

func TestProcesses(t *testing.T) {
	g := newGroup(t)
	child := g.Child("leaf")
	if err := child.Make(); err != nil {
		t.Fatal(err)
	}
	cmd := sleeper(t)
	if err := child.Add(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if got := g.Processes(); !slices.Equal(got, []int{cmd.Process.Pid}) {
		t.Errorf("processes = %v, want %d", got, cmd.Process.Pid)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := g.Remove(ctx); err == nil {
		t.Error("a group with a process in it is gone")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err := g.Remove(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestFreeze(t *testing.T) {
	g := newGroup(t)
	child := g.Child("leaf")
	if err := child.Make(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "while :; do echo x; sleep 0.01; done")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.Freeze(false); _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if err := child.Add(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	said := make(chan struct{}, 1)
	go func() {
		b := make([]byte, 64)
		for {
			if _, err := out.Read(b); err != nil {
				return
			}
			select {
			case said <- struct{}{}:
			default:
			}
		}
	}()
	heard := func(within time.Duration) bool {
		select {
		case <-said:
			return true
		case <-time.After(within):
			return false
		}
	}
	if !heard(5 * time.Second) {
		t.Fatal("the child says nothing")
	}
	if err := g.Freeze(true); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); heard(100 * time.Millisecond); {
		if time.Now().After(deadline) {
			t.Fatal("a frozen child goes on")
		}
	}
	if err := g.Freeze(false); err != nil {
		t.Fatal(err)
	}
	if !heard(5 * time.Second) {
		t.Error("a thawed child says nothing")
	}
}

func TestRemoveEmptyKeepsWhatIsUsed(t *testing.T) {
	g := newGroup(t)
	if err := g.Child("used").Make(); err != nil {
		t.Fatal(err)
	}
	if err := g.RemoveEmpty(); err == nil || !g.Exists() {
		t.Error("a group with one below it is gone")
	}
	if err := g.Child("used").RemoveEmpty(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := g.RemoveEmpty(); err != nil {
			t.Error(err)
		}
	}
}
