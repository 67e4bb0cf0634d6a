// Package dns is the name service that a virtual network has from its cloud: one
// CoreDNS a region at network.Magic, which knows the managed services and nothing
// outside. Call New for its part and Set for each name. The cluster's own DNS is
// another CoreDNS, a Deployment.
package dns

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nines-ha/nines/ground/network"
	"github.com/nines-ha/nines/ground/part"
	"github.com/nines-ha/nines/internal/cgroup"
	"github.com/nines-ha/nines/internal/namespace"
	"github.com/nines-ha/nines/internal/process"
)

// Config places a server.
type Config struct {
	Region  string
	Dir     string // for its configuration
	LogDir  string
	Program func(name string) (string, error) // path of a binary, once it is built
	Router  func() *namespace.Set             // asked once the network is there
	Group   *cgroup.Group
}

// Server answers for the names it was told.
type Server struct {
	config Config
	inside *namespace.Set

	mu    sync.Mutex
	hosts map[string]netip.Addr
}

// New describes a server that knows no name yet.
func New(config Config) *Server {
	return &Server{config: config, inside: &namespace.Set{}, hosts: map[string]netip.Addr{}}
}

// Part is the server; after is what must be ready before.
func (s *Server) Part(after ...string) part.Part {
	spec := &process.Spec{
		Name:         s.config.Region + "/dns",
		Path:         "coredns",
		Args:         []string{"-conf", s.path("Corefile")},
		Dir:          "/",
		LogFile:      filepath.Join(s.config.LogDir, s.config.Region+"-dns.log"),
		Namespaces:   s.inside,
		Group:        s.config.Group,
		RestartAfter: time.Second,
	}
	return part.Part{
		Name:  s.config.Region + "/dns",
		Needs: append([]string{"engine/coredns"}, after...),
		About: "the virtual network's DNS at " + network.Magic.String(),
		Prepare: func(context.Context) (err error) {
			s.inside.Net = s.config.Router().Net
			if spec.Path, err = s.config.Program("coredns"); err != nil {
				return err
			}
			return s.write()
		},
		Program: spec,
		Ready:   s.ready,
	}
}

func (s *Server) path(name string) string { return filepath.Join(s.config.Dir, name) }

const corefile = `.:53 {
    bind %s
    errors
    hosts %s {
        ttl 5
        reload 1s
    }
}
`

func (s *Server) write() error {
	if err := os.MkdirAll(s.config.Dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(s.path("Corefile"), fmt.Appendf(nil, corefile, network.Magic, s.path("hosts")), 0o644); err != nil {
		return err
	}
	return s.writeHosts()
}

// Set makes name resolve to addr within a second. It may be called before the
// server runs.
func (s *Server) Set(name string, addr netip.Addr) error {
	s.mu.Lock()
	s.hosts[name] = addr
	s.mu.Unlock()
	if _, err := os.Stat(s.config.Dir); err != nil {
		return nil
	}
	return s.writeHosts()
}

func (s *Server) writeHosts() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.hosts)) {
		fmt.Fprintf(&b, "%s %s\n", s.hosts[name], name)
	}
	next := s.path("hosts.next")
	if err := os.WriteFile(next, []byte(b.String()), 0o644); err != nil {
		return err
	}
	return os.Rename(next, s.path("hosts"))
}

// ready sends a question: any answer will do.
func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := s.inside.Dial(ctx, "udp", net.JoinHostPort(network.Magic.String(), "53"))
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	question := []byte{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 5, 'r', 'e', 'a', 'd', 'y', 0, 0, 1, 0, 1}
	if _, err := conn.Write(question); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 512))
	return err
}
