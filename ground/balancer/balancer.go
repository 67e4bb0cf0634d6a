package balancer

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// A Balancer is one frontend address with its load-balancing rules.
type Balancer struct {
	Name     string        `json:"name"`
	Frontend netip.Addr    `json:"frontend"`
	Zone     string        `json:"zone,omitempty"` // empty: zone-redundant
	Ports    []Port        `json:"ports"`
	Affinity Affinity      `json:"affinity"`
	Idle     time.Duration `json:"idle"`  // how long a silent TCP flow is remembered; zero means DefaultIdle
	Reset    bool          `json:"reset"` // answer with a TCP reset what comes after Idle
}

// A Port is one rule: what arrives at Frontend:Port goes to the backends that Probe finds healthy.
type Port struct {
	Protocol Protocol `json:"protocol"`
	Port     uint16   `json:"port"`
	Probe    Probe    `json:"probe"` // the zero Probe: every backend counts as healthy
}

// A Probe is how a backend is asked for its health.
type Probe struct {
	Protocol  Protocol      `json:"protocol"` // TCP, HTTP or HTTPS
	Port      uint16        `json:"port"`
	Path      string        `json:"path,omitempty"`
	Interval  time.Duration `json:"interval"`
	Threshold int           `json:"threshold"`
}

// A Backend is a machine that can take flows.
type Backend struct {
	Node    string     `json:"node"`
	Address netip.Addr `json:"address"`
	Zone    string     `json:"zone,omitempty"` // of Config.Zones; empty: a neighbour of the router
}

// Protocol is of a rule (TCP, UDP) or of a probe (TCP, HTTP, HTTPS).
type Protocol string

const (
	TCP   Protocol = "tcp"
	UDP   Protocol = "udp"
	HTTP  Protocol = "http"
	HTTPS Protocol = "https"
)

// Affinity is what of a flow is hashed.
type Affinity string

const (
	FiveTuple        Affinity = "" // every flow for itself
	SourceIP         Affinity = "source-ip"
	SourceIPProtocol Affinity = "source-ip-protocol"
)

const (
	DefaultIdle      = 4 * time.Minute
	DefaultInterval  = 5 * time.Second // as AKS sets it
	DefaultThreshold = 2               // as AKS sets it

	maxRules    = 1500 // Azure's own limit for a Standard Load Balancer
	maxBackends = 5000 // likewise
)

func (b Balancer) validate() error {
	var problems []error
	if b.Name == "" {
		problems = append(problems, errors.New("it has no name"))
	}
	if !b.Frontend.Is4() {
		problems = append(problems, fmt.Errorf("frontend %v is not an IPv4 address", b.Frontend))
	}
	if b.Idle < 0 {
		problems = append(problems, fmt.Errorf("idle timeout %v is negative", b.Idle))
	}
	switch b.Affinity {
	case FiveTuple, SourceIP, SourceIPProtocol:
	default:
		problems = append(problems, fmt.Errorf("affinity %q is none of %q, %q, %q", b.Affinity, FiveTuple, SourceIP, SourceIPProtocol))
	}
	type key struct {
		protocol Protocol
		port     uint16
	}
	seen := map[key]bool{}
	for _, port := range b.Ports {
		k := key{port.Protocol, port.Port}
		if port.Protocol != TCP && port.Protocol != UDP {
			problems = append(problems, fmt.Errorf("port %d: protocol %q is neither tcp nor udp", port.Port, port.Protocol))
		}
		if port.Port == 0 {
			problems = append(problems, errors.New("port 0 cannot be balanced"))
		}
		if seen[k] {
			problems = append(problems, fmt.Errorf("%s port %d is there twice", port.Protocol, port.Port))
		}
		seen[k] = true
		if err := port.Probe.validate(); err != nil {
			problems = append(problems, fmt.Errorf("probe of port %d: %w", port.Port, err))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("balancer %q: %w", b.Name, err)
	}
	return nil
}

func (p Probe) validate() error {
	if p == (Probe{}) {
		return nil
	}
	switch {
	case p.Protocol != TCP && p.Protocol != HTTP && p.Protocol != HTTPS:
		return fmt.Errorf("protocol %q is none of tcp, http, https", p.Protocol)
	case p.Port == 0:
		return errors.New("it has no port")
	case p.Protocol == TCP && p.Path != "":
		return fmt.Errorf("path %q means nothing to a tcp probe", p.Path)
	case p.Protocol != TCP && (p.Path == "" || p.Path[0] != '/'):
		return fmt.Errorf("path %q does not begin with /", p.Path)
	case p.Interval <= 0:
		return fmt.Errorf("interval %v is not positive", p.Interval)
	case p.Threshold < 1:
		return fmt.Errorf("threshold %d is less than 1", p.Threshold)
	}
	return nil
}
