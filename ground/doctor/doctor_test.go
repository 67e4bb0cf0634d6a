package doctor

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	mountsV2 = "24 1 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"
	mountsV1 = "30 24 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
		"31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
		"32 24 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n" +
		"33 24 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n" +
		"34 24 0:30 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n" +
		"35 24 0:31 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n"
	unifiedEmpty = "36 24 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)

// wellMachine holds in every check.
func wellMachine() *Machine {
	return &Machine{
		Files: fstest.MapFS{
			"proc/meminfo":                                {Data: []byte("MemTotal:        8388608 kB\nMemFree:  1 kB\nMemAvailable:    6291456 kB\n")},
			"proc/self/mountinfo":                         {Data: []byte(mountsV2)},
			"proc/sys/fs/inotify/max_user_instances":      {Data: []byte("1024\n")},
			"proc/sys/kernel/osrelease":                   {Data: []byte("6.1.0-40-amd64\n")},
			"proc/sys/kernel/seccomp/actions_avail":       {},
			"proc/sys/net/bridge/bridge-nf-call-iptables": {},
			"sys/fs/cgroup/cgroup.controllers":            {Data: []byte("cpuset cpu io memory pids\n")},
			"dev/kmsg":                                    {},
			"usr/include/seccomp.h":                       {},
			"usr/lib/x86_64-linux-gnu/libc.a":             {},
			"etc/ssl/certs/ca-certificates.crt":           {},
		},
		CPUs:     2,
		Cache:    "/var/cache/nines",
		State:    "/var/lib/nines",
		LookPath: func(name string) (string, error) { return "/usr/bin/" + name, nil },
		Run:      func(context.Context, string, ...string) (string, error) { return "go1.26.8", nil },
		Isolated: func(context.Context, uintptr, string, string, ...string) error { return nil },
		Overlay:  func(context.Context, string) error { return nil },
		Cgroup:   func(string) error { return nil },
		Free:     func(string) (uint64, error) { return 64 << 30, nil },
		Listen:   func(string) error { return nil },
	}
}

// bareMachine holds in almost none.
func bareMachine() *Machine {
	refused := errors.New("operation not permitted")
	return &Machine{
		Files: fstest.MapFS{
			"proc/meminfo":                           {Data: []byte("MemTotal:        4030000 kB\nMemAvailable:    1048576 kB\n")},
			"proc/self/mountinfo":                    {Data: []byte(mountsV2)},
			"proc/sys/fs/inotify/max_user_instances": {Data: []byte("64\n")},
			"proc/sys/kernel/osrelease":              {Data: []byte("4.19.0\n")},
			"sys/fs/cgroup/cgroup.controllers":       {Data: []byte("cpu pids\n")},
		},
		CPUs:     1,
		Cache:    "/var/cache/nines",
		State:    "/var/lib/nines",
		LookPath: func(string) (string, error) { return "", errors.New("executable file not found in $PATH") },
		Run: func(context.Context, string, ...string) (string, error) {
			return "", errors.New("executable file not found in $PATH")
		},
		Isolated: func(_ context.Context, _ uintptr, _, name string, _ ...string) error {
			return fmt.Errorf("%s: %w", name, refused)
		},
		Overlay: func(context.Context, string) error { return refused },
		Cgroup:  func(string) error { return nil },
		Free:    func(string) (uint64, error) { return 3 << 30, nil },
		Listen: func(address string) error {
			if address == "127.0.0.1:8080" {
				return errors.New("address already in use")
			}
			return nil
		},
	}
}

func TestReport(t *testing.T) {
	userMachine := wellMachine()
	userMachine.UID = 1000
	cases := map[string]struct {
		machine *Machine
		ready   bool
	}{
		"well": {wellMachine(), true},
		"bare": {bareMachine(), false},
		"user": {userMachine, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			report := Run(t.Context(), c.machine, Checks())
			if report.Ready != c.ready {
				t.Errorf("ready is %v", report.Ready)
			}
			var got bytes.Buffer
			if err := report.Write(&got); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("report differs from %s (rewrite with -update):\n%s", golden, got.Bytes())
			}
		})
	}
}

// Each thing that a well machine loses must turn its own check, and no other.
func TestChecksNotice(t *testing.T) {
	without := func(name string) func(*Machine) {
		return func(m *Machine) { delete(m.Files.(fstest.MapFS), name) }
	}
	file := func(name, body string) func(*Machine) {
		return func(m *Machine) { m.Files.(fstest.MapFS)[name] = &fstest.MapFile{Data: []byte(body)} }
	}
	noNamespace := func(flag uintptr) func(*Machine) {
		return func(m *Machine) {
			m.Isolated = func(_ context.Context, namespaces uintptr, _, name string, _ ...string) error {
				if namespaces == flag && name == "true" {
					return errors.New("refused")
				}
				return nil
			}
		}
	}
	noRule := func(word string) func(*Machine) {
		return func(m *Machine) {
			m.Isolated = func(_ context.Context, _ uintptr, stdin, _ string, _ ...string) error {
				if strings.Contains(stdin, word) {
					return errors.New("no such file or directory")
				}
				return nil
			}
		}
	}
	cases := []struct {
		lose   func(*Machine)
		check  string
		status Status
	}{
		{func(m *Machine) { m.CPUs = 1 }, "cpu", Warning},
		{without("proc/meminfo"), "memory memory-free", Failed},
		{file("proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 1048576 kB\n"), "memory-free", Warning},
		{file("proc/meminfo", "MemTotal: 5000000 kB\nMemAvailable: 4000000 kB\n"), "memory", Failed},
		{func(m *Machine) { m.Free = func(string) (uint64, error) { return 9 << 30, nil } }, "disk", Failed},
		{func(m *Machine) { m.Free = func(string) (uint64, error) { return 0, errors.New("no such device") } }, "disk", Failed},
		{func(m *Machine) {
			m.Free = func(dir string) (uint64, error) {
				return map[string]uint64{"/var/cache/nines": 64 << 30, "/var/lib/nines": 1 << 30}[dir], nil
			}
		}, "disk", Failed},
		{file("proc/sys/fs/inotify/max_user_instances", "127"), "inotify", Warning},
		{func(m *Machine) { m.Listen = func(string) error { return errors.New("in use") } }, "ports", Warning},
		{file("proc/sys/kernel/osrelease", "5.12.19"), "kernel", Failed},
		{noNamespace(unix.CLONE_NEWPID), "namespaces", Failed},
		{noNamespace(unix.CLONE_NEWCGROUP), "namespaces", Failed},
		{func(m *Machine) { m.Overlay = func(context.Context, string) error { return errors.New("invalid") } }, "overlayfs", Failed},
		{func(m *Machine) { m.Cgroup = func(string) error { return errors.New("read-only file system") } }, "cgroup", Failed},
		{noRule("veth"), "links", Failed},
		{noRule("jhash"), "nftables", Failed},
		{noRule("fwmark"), "links", Failed},
		{without("proc/sys/net/bridge/bridge-nf-call-iptables"), "bridge-netfilter", Warning},
		{without("proc/sys/kernel/seccomp/actions_avail"), "seccomp", Failed},
		{without("dev/kmsg"), "kmsg", Failed},
		{without("usr/include/seccomp.h"), "package-libseccomp-dev", Failed},
		{without("usr/lib/x86_64-linux-gnu/libc.a"), "package-libc6-dev", Failed},
		{func(m *Machine) {
			m.Run = func(context.Context, string, ...string) (string, error) { return "go1.25.9", nil }
		}, "go", Failed},
	}
	for _, c := range cases {
		machine := wellMachine()
		c.lose(machine)
		var got []string
		worst := OK
		for _, result := range Run(t.Context(), machine, Checks()).Checks {
			if result.Status == OK {
				continue
			}
			got = append(got, result.ID)
			if worst != Failed {
				worst = result.Status
			}
			if result.Found == "" || result.Why == "" || result.Fix == "" {
				t.Errorf("%s: found %q, why %q, fix %q", result.ID, result.Found, result.Why, result.Fix)
			}
		}
		if strings.Join(got, " ") != c.check || worst != c.status {
			t.Errorf("got %v (%s), want %s (%s)", got, worst, c.check, c.status)
		}
	}
}

func TestCgroups(t *testing.T) {
	cases := []struct {
		name, mounts, controllers, found string
		held                             bool
	}{
		{"v2", mountsV2, "cpu memory pids", "v2", true},
		{"v2 without pids", mountsV2, "cpu memory", "v2; no controller pids", false},
		{"v1", mountsV1, "", "v1", true},
		{"hybrid", mountsV1 + unifiedEmpty, "", "v1 and v2 (hybrid)", true},
		{"hybrid, v2 first", unifiedEmpty + mountsV1, "", "v1 and v2 (hybrid)", true},
		{"v1 without freezer", mountsV1[:strings.LastIndex(mountsV1, "35 ")], "", "v1; no controller freezer", false},
		{"none", "22 1 0:20 / /proc rw - proc proc rw\n", "", "none mounted; no controller cpu", false},
		{"torn", "22 1 -\n - \n24 1 0:22 / - cgroup2\n", "", "none mounted; no controller cpu", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			machine := wellMachine()
			machine.Files = fstest.MapFS{
				"proc/self/mountinfo":              {Data: []byte(c.mounts)},
				"sys/fs/cgroup/cgroup.controllers": {Data: []byte(c.controllers)},
			}
			found, held := cgroups(t.Context(), machine)
			if found != c.found || held != c.held {
				t.Errorf("got %q %v, want %q %v", found, held, c.found, c.held)
			}
		})
	}
}

func TestAtLeast(t *testing.T) {
	cases := []struct {
		version, least string
		want           bool
	}{
		{"6.1.0-40-amd64", "5.13", true}, {"5.13", "5.13", true}, {"5.4.0", "5.13", false}, {"4.19", "5.13", false},
		{"1.26rc1", "1.26", true}, {"1.27", "1.26", true}, {"1.9", "1.26", false}, {"", "1.26", false}, {"devel", "1.26", false},
	}
	for _, c := range cases {
		if got := atLeast(c.version, c.least); got != c.want {
			t.Errorf("atLeast(%q, %q) is %v", c.version, c.least, got)
		}
	}
}

func TestChecksAreComplete(t *testing.T) {
	var seen []string
	for _, c := range Checks() {
		if c.ID == "" || c.What == "" || c.Why == "" || c.Fix == "" || c.run == nil || c.bad == "" {
			t.Errorf("check %q lacks a field", c.ID)
		}
		if slices.Contains(seen, c.ID) {
			t.Errorf("two checks are called %q", c.ID)
		}
		seen = append(seen, c.ID)
	}
}

// The real probes, on the machine of the test: they must leave no trace.
func TestHereLeavesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the probes need root")
	}
	dir := t.TempDir()
	trace := func() string {
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		links, err := os.ReadDir("/sys/class/net")
		if err != nil {
			t.Fatal(err)
		}
		groups, err := filepath.Glob("/sys/fs/cgroup/*/nines-doctor-*")
		if err != nil {
			t.Fatal(err)
		}
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, link := range links {
			if strings.HasPrefix(link.Name(), "nines-doctor") {
				names = append(names, link.Name())
			}
		}
		own := slices.DeleteFunc(strings.Split(string(mounts), "\n"), func(line string) bool { return !strings.Contains(line, dir) })
		return fmt.Sprint(own, names, groups, files)
	}
	before := trace()
	report := Run(t.Context(), Here(filepath.Join(dir, "cache", "nines"), filepath.Join(dir, "state", "nines")), Checks())
	if after := trace(); after != before {
		t.Errorf("left behind: %s, before: %s", after, before)
	}
	for _, c := range report.Checks {
		t.Logf("%s %s: %s", c.Status, c.ID, c.Found)
		if strings.Contains(c.Found, "syntax error") || strings.Contains(c.Found, "is wrong") {
			t.Errorf("%s: the probe is wrong, not the machine: %s", c.ID, c.Found)
		}
	}
}
