package node

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// pause is what the program is called that holds a pod's namespaces.
const pause = "pause"

// ErrNoPod says that a machine runs no pod of that identity.
var ErrNoPod = errors.New("no such pod runs there")

// Pod finds the process that holds the network of a pod, and lives as long as it,
// by the pod's UID: an ErrNoPod if none does. A pod in the machine's own network
// has no network of its own and is not found.
func (n *Node) Pod(uid string) (pid int, err error) {
	own := netOf(n.PID())
	if own == "" {
		return 0, fmt.Errorf("%s is off", n.config.Name)
	}
	holders, network := map[string]int{}, ""
	for _, pid := range n.config.Group.Processes() {
		net := netOf(pid)
		if net == "" || net == own {
			continue // also a process that is being made a pod's
		}
		if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); strings.TrimSpace(string(name)) == pause {
			holders[net] = pid
		}
		if mounts, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid)); isOf(string(mounts), uid) {
			network = net
		}
	}
	if pid := holders[network]; network != "" && pid != 0 {
		return pid, nil
	}
	return 0, fmt.Errorf("pod %s on %s: %w", uid, n.config.Name, ErrNoPod)
}

// netOf names a network namespace, "" of a process that is gone.
func netOf(pid int) string {
	name, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	return name
}

// isOf says whether mounts are those of a container of a pod: the kubelet binds
// the pod's own file of hosts to each one's /etc/hosts, unless it is in the
// machine's network. The control groups do not tell, because the kubelet keeps
// none by pod here.
func isOf(mountinfo, uid string) bool {
	for line := range strings.Lines(mountinfo) {
		// number parent device root mount-point …
		if f := strings.Fields(line); len(f) > 4 && f[4] == "/etc/hosts" && strings.HasSuffix(f[3], "/pods/"+uid+"/etc-hosts") {
			return true
		}
	}
	return false
}
