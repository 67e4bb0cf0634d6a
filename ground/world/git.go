package world

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/nines-ha/nines/ground/git"
	"github.com/nines-ha/nines/ground/network"
	"github.com/nines-ha/nines/ground/part"
	"github.com/nines-ha/nines/internal/cgroup"
)

// gitHost is the managed Git host beside the first region, known to all.
type gitHost struct {
	*git.Host
	part    string
	port    int // of the loopback listener that leads to it
	address netip.Addr
	group   *cgroup.Group // freezing it suspends the host

	mu        sync.Mutex
	suspended bool
}

// GitStatus is the managed Git host.
type GitStatus struct {
	Part string `json:"part"`
	Host string `json:"host"`
	// Address is where it answers, inside the ground.
	Address string `json:"address"`
	URL     string `json:"url"` // of the repository, from this machine
	Note    string `json:"note"`
	// Suspended says that its programs hold still, their connections open.
	Suspended bool `json:"suspended,omitempty"`
}

// GitAddress is where the Git host answers, an address and a port.
func GitAddress() string {
	return net.JoinHostPort(network.Plan{}.Git().String(), strconv.Itoa(git.Port))
}

// GitPart is the name of the Git host's part.
func (s Spec) GitPart() string { return s.Regions[0].Name + "/git" }

// Git is where what programs of this machine need to reach the Git host is written.
func (d Dirs) Git() string { return filepath.Join(d.Run, "git") }

func newGitHost(w *World) *gitHost {
	home := w.regions[0]
	g := &gitHost{part: w.spec.GitPart(), port: w.spec.GitPort, address: home.plan.Git(), group: w.group.Child("managed").Child("git")}
	g.Host = git.New(git.Config{
		Part:    g.part,
		Host:    fmt.Sprintf("git.%s.example", w.spec.Name),
		Address: g.address,
		Root:    func() string { return w.arrivals.dir("root/" + git.RootName) },
		Dir:     w.spec.Dirs.Git(),
		Data:    filepath.Join(w.spec.Dirs.Data, "git"),
		LogDir:  w.spec.Dirs.Logs,
		Attach:  home.attachPlatform,
		Group:   g.group,
	})
	return g
}

func (w *World) gitParts() []part.Part {
	p := w.git.Part("network")
	ready := p.Ready
	p.Ready = func(ctx context.Context) error {
		if err := ready(ctx); err != nil {
			return err
		}
		for _, r := range w.regions {
			if err := r.dns.Set(w.git.Name(), w.git.address); err != nil {
				return err
			}
		}
		self, err := os.Executable()
		if err != nil {
			return err
		}
		return w.git.Publish(w.git.port, self)
	}
	return []part.Part{w.arrival("root/"+git.RootName, "Debian root file system with "+strings.Join(git.RootPackages, ", ")), p}
}

func (g *gitHost) suspend(suspended bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.group.Freeze(suspended); err != nil {
		return fmt.Errorf("suspend %s: %w", g.part, err)
	}
	g.suspended = suspended
	return nil
}

// status is nil where there is no host.
func (g *gitHost) status() *GitStatus {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return &GitStatus{
		Part: g.part, Host: g.Name(), Address: g.address.String(), URL: fmt.Sprintf("https://127.0.0.1:%d%s", g.port, git.Path), Suspended: g.suspended,
		Note: "one http-backend of git stands for a managed Git service; it is in no zone and does not fail over",
	}
}
