//go:build ground

package ground

import (
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// hostState is all of the host that a ground must not change: what it is called
// to what it is.
type hostState map[string]string

// lookAtHost reads the state of the machine. Places that others write to at any
// moment are read by name only.
func lookAtHost(t *testing.T) hostState {
	t.Helper()
	h := hostState{}
	h.network(t)
	for _, dir := range []string{"/proc/sys/net"} {
		h.tree(dir, func(path string) bool { return !strings.HasSuffix(path, "_count") })
	}
	for _, name := range []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"} {
		h.file("/proc/sys/" + name)
	}
	h.file("/proc/self/mountinfo")
	h.file("/proc/net/ip_tables_names")
	h.file("/proc/sys/kernel/hostname")
	h.controlGroups()
	for _, dir := range []string{"/", "/usr", "/usr/libexec", "/usr/local", "/opt", "/srv", "/var", "/var/lib", "/var/log", "/etc/cni", "/run", "/run/netns", "/dev/shm"} {
		h.names(dir)
	}
	h.times("/etc")
	rules, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("nft list ruleset: %v: %s", err, rules)
	}
	h["nft ruleset"] = string(rules)
	return h
}

// compare reports what is not as before. It lets network sysctls be new: the
// first packet filter of a machine, in whatever namespace, loads modules that
// bring them.
func (h hostState) compare(t *testing.T, when string, now hostState) {
	t.Helper()
	for _, what := range slices.Sorted(maps.Keys(h)) {
		if now[what] != h[what] {
			t.Errorf("%s the host's %s changed:\nbefore: %q\nnow:    %q", when, what, h[what], now[what])
		}
	}
	for _, what := range slices.Sorted(maps.Keys(now)) {
		if _, ok := h[what]; !ok && !strings.HasPrefix(what, "/proc/sys/net") {
			t.Errorf("%s the host has a new %s: %q", when, what, now[what])
		}
	}
}

func (h hostState) network(t *testing.T) {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		a := l.Attrs()
		h["link "+a.Name] = fmt.Sprint(a.Index, a.HardwareAddr, a.MTU, a.Flags, a.MasterIndex)
		addresses, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			t.Fatal(err)
		}
		for _, addr := range addresses {
			h["address "+addr.IPNet.String()+" on "+a.Name] = fmt.Sprint(addr.Scope, addr.Flags)
		}
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		h["route "+r.String()] = fmt.Sprint(r.Table)
	}
	rules, err := netlink.RuleList(netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		h["rule "+r.String()] = fmt.Sprint(r.Table)
	}
}

func (h hostState) file(path string) {
	body, err := os.ReadFile(path)
	if err != nil {
		body = []byte("unreadable")
	}
	h[path] = string(body)
}

func (h hostState) tree(dir string, want func(path string) bool) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && want(path) {
			h.file(path)
		}
		return nil
	})
}

func (h hostState) names(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		h["names in "+dir] = "absent"
		return
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	h["names in "+dir] = strings.Join(names, " ")
}

func (h hostState) times(dir string) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil {
			h["time and size of "+path] = fmt.Sprint(info.ModTime(), info.Size(), info.Mode())
		}
		return nil
	})
}

// controlGroups lists all groups but the grounds' own subtree and those that
// come and go below a session or a service of the machine's.
func (h hostState) controlGroups() {
	const root = "/sys/fs/cgroup"
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		if d.Name() == "nines" {
			return fs.SkipDir
		}
		h["control group "+path] = ""
		if strings.Count(strings.TrimPrefix(path, root), "/") >= 2 {
			return fs.SkipDir
		}
		return nil
	})
}

// listeners are the TCP sockets of the host that take connections from elsewhere.
func listeners(t *testing.T) []string {
	t.Helper()
	var open []string
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		body, err := os.ReadFile(file)
		if err != nil {
			continue // no IPv6
		}
		for _, line := range strings.Split(string(body), "\n") {
			f := strings.Fields(line)
			if len(f) < 4 || f[3] != "0A" || isLoopback(f[1]) {
				continue
			}
			open = append(open, f[1])
		}
	}
	slices.Sort(open)
	return open
}

// isLoopback reads an address as /proc/net/tcp writes it, in the machine's byte order.
func isLoopback(text string) bool {
	host, _, _ := strings.Cut(text, ":")
	var b []byte
	for i := 0; i+8 <= len(host); i += 8 {
		var word [4]byte
		if _, err := fmt.Sscanf(host[i:i+8], "%02x%02x%02x%02x", &word[3], &word[2], &word[1], &word[0]); err != nil {
			return false
		}
		b = append(b, word[:]...)
	}
	return net.IP(b).IsLoopback()
}

// namedSockets are the unix sockets with a name outside the file system, or
// where services of the host have theirs.
func namedSockets(t *testing.T) []string {
	t.Helper()
	body, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, line := range strings.Split(string(body), "\n") {
		f := strings.Fields(line)
		if len(f) == 8 && (strings.HasPrefix(f[7], "@") || strings.HasPrefix(f[7], "/run/") || strings.HasPrefix(f[7], "/var/run/")) {
			names = append(names, f[7])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
