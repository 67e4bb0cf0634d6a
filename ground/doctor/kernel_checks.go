package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Older kernels lack what kube-proxy's nftables mode asks for.
const kernelNeeded = "5.13"

func kernelChecks() []Check {
	return []Check{
		{
			ID: "kernel", What: "Linux " + kernelNeeded + " or newer", bad: Failed,
			Why: "kube-proxy in nftables mode refuses older kernels",
			Fix: "boot a newer kernel; Debian 12 has 6.1",
			run: kernel,
		},
		{
			ID: "namespaces", What: "namespaces", root: true, bad: Failed,
			Why: "a node is a set of namespaces",
			Fix: "inside a container, start it privileged; on a kernel of your own, set CONFIG_NAMESPACES with NET_NS, PID_NS, IPC_NS, UTS_NS and CGROUPS",
			run: namespaces,
		},
		{
			ID: "cgroup", What: "control groups", root: true, bad: Failed,
			Why: "nodes and pods are limited, frozen and counted by control groups",
			Fix: "mount them at /sys/fs/cgroup, writable; on cgroup v2 give this process a group with the controllers cpu, memory and pids",
			run: cgroups,
		},
		{
			ID: "overlayfs", What: "overlayfs", root: true, bad: Failed,
			Why: "containers and nodes share image layers through overlay mounts",
			Fix: "modprobe overlay; inside a container, put the cache on a volume, since an overlay on an overlay does not work",
			run: overlays,
		},
		{
			ID: "links", What: "bridge, veth and policy routing", root: true, bad: Failed,
			Why: "nodes, zones and regions are joined by virtual links, and the load balancer routes by mark",
			Fix: "modprobe bridge veth; on a kernel of your own, set CONFIG_IP_MULTIPLE_TABLES too",
			run: links,
		},
		{
			ID: "nftables", What: "nftables in the kernel", root: true, bad: Failed,
			Why: "kube-proxy and the load balancer are nftables rules",
			Fix: "install nftables, then: modprobe -a nf_tables nft_ct nft_nat nft_masq nft_fib_ipv4 nft_hash nft_numgen nft_reject_ipv4",
			run: nftables,
		},
		{
			ID: "bridge-netfilter", What: "bridged packets pass nftables", bad: Warning,
			Why: "without it a pod may not reach, through a Service, another pod of its own node",
			Fix: "modprobe br_netfilter",
			run: func(_ context.Context, m *Machine) (string, bool) {
				return present(m.Files, "proc/sys/net/bridge/bridge-nf-call-iptables")
			},
		},
		{
			ID: "seccomp", What: "seccomp", bad: Failed,
			Why: "pods run under the RuntimeDefault seccomp profile",
			Fix: "boot a kernel with CONFIG_SECCOMP_FILTER",
			run: func(_ context.Context, m *Machine) (string, bool) {
				return present(m.Files, "proc/sys/kernel/seccomp/actions_avail")
			},
		},
		{
			ID: "kmsg", What: "the kernel's log", root: true, bad: Failed,
			Why: "the kubelet reads /dev/kmsg and does not start without it",
			Fix: "inside a container, pass the device: --device /dev/kmsg",
			run: func(_ context.Context, m *Machine) (string, bool) {
				return present(m.Files, "dev/kmsg")
			},
		},
	}
}

func kernel(_ context.Context, m *Machine) (string, bool) {
	body, err := fs.ReadFile(m.Files, "proc/sys/kernel/osrelease")
	if err != nil {
		return err.Error(), false
	}
	release := strings.TrimSpace(string(body))
	return release, atLeast(release, kernelNeeded)
}

func namespaces(ctx context.Context, m *Machine) (string, bool) {
	kinds := []struct {
		name string
		flag uintptr
	}{
		{"mount", unix.CLONE_NEWNS}, {"network", unix.CLONE_NEWNET}, {"pid", unix.CLONE_NEWPID},
		{"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}, {"cgroup", unix.CLONE_NEWCGROUP},
	}
	var names []string
	for _, kind := range kinds {
		if err := m.Isolated(ctx, kind.flag, "", "true"); err != nil {
			return fmt.Sprintf("no new %s namespace: %v", kind.name, err), false
		}
		names = append(names, kind.name)
	}
	return strings.Join(names, ", "), true
}

// cgroups knows the three ways in which a machine mounts them: v1 with a
// hierarchy a controller, v2 with one for all, and hybrid, where v1 has the
// controllers and an empty v2 hierarchy lies beside it.
func cgroups(_ context.Context, m *Machine) (string, bool) {
	body, err := fs.ReadFile(m.Files, "proc/self/mountinfo")
	if err != nil {
		return err.Error(), false
	}
	needed := []string{"cpu", "memory", "pids"}
	controllers := map[string]string{} // name -> where
	version, unified := "none mounted", ""
	for line := range strings.Lines(string(body)) {
		mount, source, found := strings.Cut(line, " - ")
		fields, kind := strings.Fields(mount), strings.Fields(source)
		if !found || len(fields) < 5 || len(kind) < 3 {
			continue
		}
		switch kind[0] {
		case "cgroup":
			for _, option := range strings.Split(kind[2], ",") {
				controllers[option] = fields[4]
			}
		case "cgroup2":
			if unified == "" || fields[4] == "/sys/fs/cgroup" {
				unified = fields[4]
			}
		}
	}
	switch {
	case controllers["memory"] != "" && unified != "":
		version, needed = "v1 and v2 (hybrid)", append(needed, "cpuset", "devices", "freezer")
	case controllers["memory"] != "":
		version, needed = "v1", append(needed, "cpuset", "devices", "freezer")
	case unified != "":
		version = "v2"
		body, err := fs.ReadFile(m.Files, strings.TrimPrefix(unified, "/")+"/cgroup.controllers")
		if err != nil {
			return err.Error(), false
		}
		for _, name := range strings.Fields(string(body)) {
			controllers[name] = unified
		}
	}
	slices.Sort(needed)
	for _, name := range needed {
		if controllers[name] == "" {
			return fmt.Sprintf("%s; no controller %s", version, name), false
		}
		if err := m.Cgroup(controllers[name]); err != nil {
			return fmt.Sprintf("%s; %v", version, err), false
		}
	}
	return version, true
}

func overlays(ctx context.Context, m *Machine) (string, bool) {
	for _, dir := range []string{m.Cache, m.State} {
		if err := m.Overlay(ctx, dir); err != nil {
			return fmt.Sprintf("for %s: %v", dir, err), false
		}
	}
	return "mounts", true
}

func links(ctx context.Context, m *Machine) (string, bool) {
	const batch = "link add nines-doctor0 type bridge\n" +
		"link add nines-doctor1 type veth peer name nines-doctor2\n" +
		"rule add fwmark 1 table 100\n"
	if err := m.Isolated(ctx, unix.CLONE_NEWNET, batch, "ip", "-batch", "-"); err != nil {
		return err.Error(), false
	}
	return "work", true
}

// Rules as kube-proxy and the load balancer write them, one a kernel feature,
// so that the feature which is missing can be named.
func nftables(ctx context.Context, m *Machine) (string, bool) {
	features := []struct{ name, hook, rule string }{
		{"mark", "type filter hook prerouting priority mangle", "ct state new ct mark set 1"},
		{"hash", "type filter hook prerouting priority mangle", "meta mark set jhash ip saddr . ip daddr . tcp sport . tcp dport mod 3"},
		{"fib", "type filter hook prerouting priority mangle", "fib daddr type local accept"},
		{"dnat", "type nat hook prerouting priority dstnat", "ip daddr 192.0.2.1 tcp dport 80 dnat to 192.0.2.2:8080"},
		{"numgen", "type nat hook prerouting priority dstnat", "dnat to numgen random mod 2 map { 0 : 192.0.2.2, 1 : 192.0.2.3 }"},
		{"masquerade", "type nat hook postrouting priority srcnat", "masquerade fully-random"},
		{"reject", "type filter hook forward priority filter", "reject"},
		{"verdict map", "type filter hook forward priority filter", "meta l4proto . ip daddr . th dport vmap { tcp . 192.0.2.1 . 80 : drop }"},
	}
	var names []string
	for _, f := range features {
		table := fmt.Sprintf("table ip nines {\n chain c {\n %s\n %s\n }\n}\n", f.hook+";", f.rule)
		if err := m.Isolated(ctx, unix.CLONE_NEWNET, table, "nft", "-f", "-"); err != nil {
			return fmt.Sprintf("no %s: %v", f.name, err), false
		}
		names = append(names, f.name)
	}
	return strings.Join(names, ", "), true
}

func present(files fs.FS, name string) (string, bool) {
	if _, err := fs.Stat(files, name); err != nil {
		return "no /" + name, false
	}
	return "/" + name, true
}
