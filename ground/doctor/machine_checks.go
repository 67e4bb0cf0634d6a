package doctor

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

const (
	cacheNeeded = 10 << 30
	stateNeeded = 2 << 30
	// A machine sold with 6 GB reports a little less.
	memoryNeeded  = 5632 << 20
	memoryWanted  = 3 << 30
	inotifyWanted = 128
)

func machineChecks() []Check {
	return []Check{
		{
			ID: "root", What: "root", bad: Failed,
			Why: "the ground makes network namespaces, mounts and control groups",
			Fix: "run it with sudo",
			run: func(_ context.Context, m *Machine) (string, bool) {
				return fmt.Sprintf("user id %d", m.UID), m.UID == 0
			},
		},
		{
			ID: "cpu", What: "processors", bad: Warning,
			Why: "with one processor, nodes miss their heartbeats while pods start",
			Fix: "give the machine two processors or more",
			run: func(_ context.Context, m *Machine) (string, bool) {
				return strconv.Itoa(m.CPUs), m.CPUs >= 2
			},
		},
		{
			ID: "memory", What: "memory", bad: Failed,
			Why: "compiling Kubernetes takes about 3 GB and a region with its pods 1.2 GB",
			Fix: "give the machine 6 GB or more, or take ready-made engines from a registry and one region",
			run: memory,
		},
		{
			ID: "memory-free", What: "memory now free", bad: Warning,
			Why: "below 3 GiB the kernel may kill a compiler or a node",
			Fix: "stop what else is running",
			run: memoryFree,
		},
		{
			ID: "disk", What: "disk space", bad: Failed,
			Why: "compiled engines, their build cache and images need 10 GiB, clusters with their logs and data 2 GiB",
			Fix: "free some space, or set XDG_CACHE_HOME and XDG_STATE_HOME to a larger disk",
			run: disk,
		},
		{
			ID: "inotify", What: "inotify instances", bad: Warning,
			Why: "each node's kubelet and containerd watch files; without watches they stop with \"too many open files\"",
			Fix: "sysctl -w fs.inotify.max_user_instances=1024",
			run: func(_ context.Context, m *Machine) (string, bool) {
				return number(m.Files, "proc/sys/fs/inotify/max_user_instances", inotifyWanted)
			},
		},
		{
			ID: "ports", What: "loopback ports", bad: Warning,
			Why: "the host reaches the API servers on 6443 and up, and the services on 8080 and up",
			Fix: "see who listens with \"ss -ltnp\"; it may be a ground that is already up",
			run: ports,
		},
	}
}

func memory(_ context.Context, m *Machine) (string, bool) {
	total, err := meminfo(m.Files, "MemTotal")
	if err != nil {
		return err.Error(), false
	}
	return size(total), total >= memoryNeeded
}

func memoryFree(_ context.Context, m *Machine) (string, bool) {
	available, err := meminfo(m.Files, "MemAvailable")
	if err != nil {
		return err.Error(), false
	}
	return size(available), available >= memoryWanted
}

func meminfo(files fs.FS, name string) (uint64, error) {
	file, err := files.Open("proc/meminfo")
	if err != nil {
		return 0, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if rest, found := strings.CutPrefix(lines.Text(), name+":"); found {
			kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read /proc/meminfo: %w", err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("no %s in /proc/meminfo", name)
}

func disk(_ context.Context, m *Machine) (string, bool) {
	held := true
	var found []string
	for _, place := range []struct {
		dir    string
		needed uint64
	}{{m.Cache, cacheNeeded}, {m.State, stateNeeded}} {
		bytes, err := m.Free(place.dir)
		if err != nil {
			return err.Error(), false
		}
		held = held && bytes >= place.needed
		found = append(found, fmt.Sprintf("%s free for %s", size(bytes), place.dir))
	}
	return strings.Join(found, ", "), held
}

func number(files fs.FS, name string, least int) (string, bool) {
	body, err := fs.ReadFile(files, name)
	if err != nil {
		return err.Error(), false
	}
	text := strings.TrimSpace(string(body))
	n, err := strconv.Atoi(text)
	return text, err == nil && n >= least
}

func ports(_ context.Context, m *Machine) (string, bool) {
	var taken []string
	for _, port := range []string{"6443", "6444", "8080", "8081"} {
		if err := m.Listen("127.0.0.1:" + port); err != nil {
			taken = append(taken, port)
		}
	}
	if len(taken) > 0 {
		return strings.Join(taken, ", ") + " taken", false
	}
	return "free", true
}

func size(bytes uint64) string {
	return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
}
