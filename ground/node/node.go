// Package node is a machine: namespaces of its own in which stock containerd,
// kubelet and kube-proxy run, with a disk that outlives a power cut. Call New,
// then PowerOn; PowerOff is a power cut, Freeze a hang. The program that calls it
// must hand StageName to Stage. It knows no cluster: certificates, addresses and
// the network come with the Config.
package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nines-ha/nines/internal/cgroup"
	"github.com/nines-ha/nines/internal/namespace"
	"github.com/nines-ha/nines/internal/pki"
	"github.com/nines-ha/nines/internal/process"
)

// SandboxImage holds a pod's namespaces.
const SandboxImage = "registry.k8s.io/pause:3.10.1"

// Where a machine's container runtime finds configurations of networks, and beside
// the ground's own their programs. Both are the machine's, so that a pod may add a
// plugin to the chain.
const (
	CNIConfig   = machineDir + "/cni"
	CNIPrograms = "/opt/cni/bin"
)

// systemGroup is the control group, in the machine's own, of its programs.
const systemGroup = "system"

// podsGroup is containerd's, of all pods. They come before the machine's programs,
// as they do on a node that reserves for those a core of its own.
const (
	podsGroup  = "k8s.io"
	podsWeight = 400
)

// Config is all that makes one machine differ from another.
type Config struct {
	Name       string
	ProviderID string
	Address    netip.Addr
	Disk       string // host directory, created when absent, that outlives PowerOff
	LogDir     string // host directory for the logs of its programs
	Group      *cgroup.Group
	Engines    string            // host directory that holds every program below
	Programs   map[string]string // host paths of containerd, kubelet, kube-proxy, runc, pause, bridge
	Image      string            // host directory of the node image; "" starts empty
	Shared     map[string]string // host directories seen in the machine, writable

	CA                          []byte
	Kubeconfig, ProxyKubeconfig []byte
	Serving                     pki.Pair
	Resolver, DNS               netip.Addr // upstream of the cluster's DNS; the cluster's DNS
	Pods                        netip.Prefix
	Mirror                      []byte // hosts.toml with which containerd finds the images of every host
	ReservedCPU, ReservedMemory string // what the machine's size leaves out of the host's
}

// Attach plugs a machine's network in; it is called at each PowerOn.
type Attach func(machine *namespace.Set) error

// Node is a machine, on or off.
type Node struct {
	config Config
	attach Attach

	mu       sync.Mutex
	machine  *exec.Cmd // pid 1; nil when off
	inside   *namespace.Set
	gone     chan struct{}
	programs []*process.Process
	frozen   bool

	shown struct { // apart from mu, which is held as long as a machine boots
		sync.Mutex
		state string
		pid   int
		since time.Time
	}
}

// New describes a machine that is off.
func New(config Config, attach Attach) *Node { return &Node{config: config, attach: attach} }

// Name is the machine's, and its Kubernetes node's, name.
func (n *Node) Name() string { return n.config.Name }

// CNIBin is the folder of network plugins as seen in the machine.
func (c Config) CNIBin() string { return filepath.Dir(c.seen("bridge")) }

func (c Config) seen(program string) string {
	rel, err := filepath.Rel(c.Engines, c.Programs[program])
	if err != nil || strings.HasPrefix(rel, "..") {
		return c.Programs[program]
	}
	return filepath.Join(enginesDir, rel)
}

func (n *Node) seen(program string) string { return n.config.seen(program) }

// PowerOn boots the machine: its network, namespaces and programs. It returns
// when the programs have been started; that the node is Ready is for Kubernetes
// to say. A machine that is on stays as it is.
func (n *Node) PowerOn(ctx context.Context) (err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.machine != nil {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("power %s on: %w", n.config.Name, err)
			n.off(context.WithoutCancel(ctx))
		}
	}()
	if err := os.MkdirAll(n.config.Disk, 0o700); err != nil {
		return err
	}
	if err := n.config.installImage(); err != nil {
		return err
	}
	if err := n.write(); err != nil {
		return err
	}
	if err := n.boot(ctx); err != nil {
		return err
	}
	return n.startPrograms(ctx)
}

// boot starts pid 1 and waits until the machine's view of the world stands.
func (n *Node) boot(ctx context.Context) error {
	if err := n.config.Group.Make(); err != nil {
		return err
	}
	network, err := namespace.NewAttached(n.attach)
	if err != nil {
		return err
	}
	defer network.Close() // pid 1 keeps it from here on
	self, err := os.Executable()
	if err != nil {
		return err
	}
	config, err := n.stage()
	if err != nil {
		return err
	}
	in, feed, err := os.Pipe()
	if err != nil {
		return err
	}
	defer feed.Close()
	result, out, err := os.Pipe()
	if err != nil {
		in.Close()
		return err
	}
	defer result.Close()
	cmd := exec.Command(self, StageName)
	cmd.ExtraFiles = []*os.File{in, out}
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	err = network.Do(cmd.Start)
	in.Close()
	out.Close()
	if err != nil {
		return fmt.Errorf("start machine: %w", err)
	}
	gone := make(chan struct{})
	go func() { _ = cmd.Wait(); close(gone) }()
	n.machine, n.gone = cmd, gone
	if err := n.config.Group.Add(cmd.Process.Pid); err != nil {
		return err
	}
	if _, err := feed.Write(config); err != nil {
		return err
	}
	feed.Close()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(30 * time.Second)
	}
	_ = result.SetReadDeadline(deadline)
	complaint, err := io.ReadAll(io.LimitReader(result, 4096))
	if err != nil {
		return fmt.Errorf("machine did not come up: %w", err)
	}
	if len(complaint) > 0 {
		return errors.New(string(complaint))
	}
	n.show(running, time.Now())
	// Only now that pid 1 has left it may the group hand controllers down.
	pods := n.config.Group.Child(podsGroup)
	return errors.Join(n.config.Group.Child(systemGroup).Make(), pods.Make(), pods.Weigh(podsWeight))
}

func (n *Node) startPrograms(ctx context.Context) error {
	set, err := namespace.Of(n.machine.Process.Pid)
	if err != nil {
		return err
	}
	n.inside = set
	group := n.config.Group.Child(systemGroup)
	start := func(name string, args ...string) error {
		p, err := process.Start(process.Spec{
			Name:         n.config.Name + "/" + name,
			Path:         n.seen(name),
			Args:         args,
			Env:          []string{"PATH=" + filepath.Dir(n.seen("containerd")) + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "GOGC=50"}, // 7 MB less a node
			Dir:          "/",
			LogFile:      filepath.Join(n.config.LogDir, n.config.Name+"-"+name+".log"),
			Namespaces:   set,
			Group:        group,
			RestartAfter: time.Second,
		})
		if err == nil {
			n.programs = append(n.programs, p)
		}
		return err
	}
	if err := start("containerd", "--config", machineDir+"/containerd.toml"); err != nil {
		return err
	}
	if err := start("kube-proxy",
		"--hostname-override="+n.config.Name,
		"--kubeconfig="+machineDir+"/proxy.kubeconfig",
		"--proxy-mode=nftables",
		"--detect-local-mode=ClusterCIDR",
		"--cluster-cidr="+n.config.Pods.String(),
		"--conntrack-max-per-core=0",
		"--conntrack-tcp-timeout-established=0",
		"--conntrack-tcp-timeout-close-wait=0",
		"--metrics-bind-address=127.0.0.1:10249",
		"--nodeport-addresses=primary",
	); err != nil {
		return err
	}
	socket := fmt.Sprintf("/proc/%d/root/run/containerd/containerd.sock", n.machine.Process.Pid)
	if err := waitFor(ctx, n.gone, socket); err != nil {
		return fmt.Errorf("containerd did not open its socket: %w", err)
	}
	return start("kubelet",
		"--config="+machineDir+"/kubelet.yaml",
		"--root-dir="+kubeletRoot,
		"--hostname-override="+n.config.Name,
		"--node-ip="+n.config.Address.String(),
		"--kubeconfig="+machineDir+"/kubelet.kubeconfig",
		"--cloud-provider=external",
	)
}

func waitFor(ctx context.Context, gone <-chan struct{}, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-gone:
			return errors.New("the machine went off")
		case <-tick.C:
		}
	}
}

// PowerOff cuts the power: every process of the machine ends at once, nothing is
// told. What its disk holds stays. A machine that is off stays off.
func (n *Node) PowerOff(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.off(ctx)
}

func (n *Node) off(ctx context.Context) error {
	if n.machine != nil {
		n.show(stopped, time.Now())
		if n.frozen {
			_ = n.config.Group.Freeze(false) // v1 kills a frozen process only once it thaws
		}
		_ = n.machine.Process.Kill()
		<-n.gone
	}
	ended, cancel := context.WithCancel(ctx)
	cancel() // they are dead already: no grace
	for _, p := range n.programs {
		p.Stop(ended)
	}
	if n.inside != nil {
		n.inside.Close() // or the network of a dead machine would live on
	}
	n.machine, n.inside, n.programs, n.frozen = nil, nil, nil, false
	return n.config.Group.Remove(ctx)
}

// Freeze stops every process of the machine without ending one, or lets them go
// on: a machine that hangs, its connections open and silent.
func (n *Node) Freeze(hang bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	began := time.Now()
	if n.machine == nil {
		return fmt.Errorf("%s is off", n.config.Name)
	}
	if err := n.config.Group.Freeze(hang); err != nil {
		return fmt.Errorf("freeze %s: %w", n.config.Name, err)
	}
	n.frozen = hang
	if hang {
		n.show(frozen, began)
	} else {
		n.show(running, time.Now())
	}
	return nil
}

// Kill ends one of the machine's programs, which then starts again.
func (n *Node) Kill(program string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.programs {
		if p.Name() == n.config.Name+"/"+program {
			return p.Signal(syscall.SIGKILL)
		}
	}
	return fmt.Errorf("%s runs no %s", n.config.Name, program)
}

// Look says "running", "frozen" or "stopped", the machine's pid 1 or 0, and since
// when it is so: a loss counts from the beginning of the act, a return from its
// end. It answers at once, also while the machine boots.
func (n *Node) Look() (state string, pid int, since time.Time) {
	n.shown.Lock()
	defer n.shown.Unlock()
	if n.shown.state == "" {
		return stopped, 0, n.shown.since
	}
	return n.shown.state, n.shown.pid, n.shown.since
}

const stopped, frozen, running = "stopped", "frozen", "running"

func (n *Node) show(state string, since time.Time) {
	n.shown.Lock()
	defer n.shown.Unlock()
	if state == n.shown.state {
		return
	}
	n.shown.state, n.shown.since, n.shown.pid = state, since, 0
	if n.machine != nil && state != stopped {
		n.shown.pid = n.machine.Process.Pid
	}
}

// State says "running", "frozen" or "stopped".
func (n *Node) State() string {
	state, _, _ := n.Look()
	return state
}

// PID is the machine's pid 1, 0 when it is off.
func (n *Node) PID() int {
	_, pid, _ := n.Look()
	return pid
}

// Wipe empties the disk of a machine that is off, as when it is replaced.
func (n *Node) Wipe() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.machine != nil {
		return fmt.Errorf("%s is on", n.config.Name)
	}
	return os.RemoveAll(n.config.Disk)
}

// installImage gives an empty disk the node image: layers by hard link, since no
// machine writes to one, and the databases by copy.
func (c Config) installImage() error {
	root := filepath.Join(c.Disk, "containerd")
	if c.Image == "" {
		return nil
	}
	if _, err := os.Stat(root); err == nil {
		return nil
	}
	building := root + ".new"
	if err := os.RemoveAll(building); err != nil {
		return err
	}
	if err := clone(c.Image, building); err != nil {
		return fmt.Errorf("install node image: %w", err)
	}
	return os.Rename(building, root)
}

func clone(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			if err := os.MkdirAll(target, info.Mode().Perm()); err != nil {
				return err
			}
			stat := info.Sys().(*syscall.Stat_t)
			if err := os.Lchown(target, int(stat.Uid), int(stat.Gid)); err != nil {
				return err
			}
			return os.Chmod(target, info.Mode())
		case strings.HasSuffix(path, ".db"):
			body, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(target, body, info.Mode().Perm())
		}
		return os.Link(path, target)
	})
}
