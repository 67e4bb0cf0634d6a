package balancer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/nines-ha/nines/internal/namespace"
)

const (
	nftTimeout     = 10 * time.Second
	refreshEvery   = time.Second
	closeTimeout   = 10 * time.Second
	defaultNftPath = "/usr/sbin/nft"
)

// Config is where a Plane works and how.
type Config struct {
	// Router is the network namespace of the region's router; nil means the
	// caller's own. It must stay open until the Plane is closed.
	Router *namespace.Set
	// Source is the address that probes come from. It must be an address of
	// Router. The zero Addr leaves the choice to the kernel.
	Source netip.Addr
	// Zones are the routers between Router and the backends, by zone.
	Zones map[string]Zone
	// Settle replaces a longer probe interval after a failed probe as long as a
	// backend was never healthy, so that a ground starts faster than Azure
	// would. Zero keeps the interval.
	Settle time.Duration
	// Changed hears of every turn of a backend's state, in order. It must not
	// call the Plane. It may be nil.
	Changed func(Change)
	Log     *slog.Logger // nil: silent
}

// A Zone is a router on the way to the backends of a zone, which are its
// neighbours. Its firewall stays in charge: what it drops does not arrive.
type Zone struct {
	Router *namespace.Set
	Uplink string // Router's device towards the region's router
	Link   string // the region router's device towards Router
}

// A Change is one turn of one backend as one probe sees it.
type Change struct {
	Node    string     `json:"node"`
	Address netip.Addr `json:"address"`
	Probe   Probe      `json:"probe"`
	State   State      `json:"state"`
	Reason  string     `json:"reason,omitempty"`
	At      time.Time  `json:"at"`
}

// A Plane balances in one router. All methods may be called at any time from
// anywhere until Close.
type Plane struct {
	cfg    Config
	router *namespace.Set
	log    *slog.Logger
	nft    string
	cancel context.CancelFunc
	ctx    context.Context // of the goroutines
	wg     sync.WaitGroup

	mu        sync.Mutex
	balancers map[string]pool
	probers   map[target]*prober
	lost      map[string]bool
	steering  *steering
	script    string            // what the kernel has
	relays    map[string]string // likewise, by zone
	chains    []string
	stale     bool // the kernel does not have what it should
	closed    bool
}

type pool struct {
	Balancer
	backends []Backend
}

// Open readies the router's namespace: forwarding on, reverse path filter and
// redirects off, and nothing left of an earlier Plane.
func Open(cfg Config) (*Plane, error) {
	p := &Plane{cfg: cfg, router: cfg.Router, log: cfg.Log, balancers: map[string]pool{}, probers: map[target]*prober{}, lost: map[string]bool{}, relays: map[string]string{}}
	if p.router == nil {
		p.router = &namespace.Set{}
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if p.nft, err = exec.LookPath("nft"); err != nil {
		if _, err := os.Stat(defaultNftPath); err != nil {
			return nil, errors.New("open balancer: the nft program is missing; install the package nftables")
		}
		p.nft = defaultNftPath
	}
	for _, router := range p.routers() {
		if err := router.Do(prepare); err != nil {
			return nil, fmt.Errorf("open balancer: %w", err)
		}
	}
	if p.steering, err = newSteering(p.router, cfg.Zones); err != nil {
		return nil, fmt.Errorf("open balancer: %w", err)
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if err := p.erase(p.ctx); err != nil {
		p.steering.close()
		p.cancel()
		return nil, fmt.Errorf("open balancer: %w", err)
	}
	p.wg.Go(p.maintain)
	return p, nil
}

func (p *Plane) routers() []*namespace.Set {
	routers := []*namespace.Set{p.router}
	for _, zone := range p.cfg.Zones {
		routers = append(routers, zone.Router)
	}
	return routers
}

// erase removes the tables, be they there or not.
func (p *Plane) erase(ctx context.Context) error {
	err := p.load(ctx, p.router, fmt.Sprintf("add table %[1]s\ndelete table %[1]s\n", table))
	for _, zone := range p.cfg.Zones {
		err = errors.Join(err, p.load(ctx, zone.Router, relay(zone.Uplink, nil)))
	}
	return err
}

// Apply makes the balancer of that name be b over backends, new or not. Probes
// that stay the same keep what they know. When Apply fails, the plane is as it
// was before as far as the kernel allows, and goes on trying if it is not.
func (p *Plane) Apply(ctx context.Context, b Balancer, backends []Backend) error {
	if err := b.validate(); err != nil {
		return err
	}
	if b.Idle == 0 {
		b.Idle = DefaultIdle
	}
	b.Ports = slices.Clone(b.Ports)
	backends = slices.Clone(backends)
	slices.SortFunc(backends, func(x, y Backend) int { return x.Address.Compare(y.Address) })
	backends = slices.CompactFunc(backends, func(x, y Backend) bool { return x.Address == y.Address })
	for _, backend := range backends {
		if !backend.Address.Is4() {
			return fmt.Errorf("balancer %q: backend %s has no IPv4 address", b.Name, backend.Node)
		}
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return fmt.Errorf("apply balancer %q: the plane is closed", b.Name)
	}
	if err := p.conflict(b); err != nil {
		return err
	}
	old, existed := p.balancers[b.Name]
	p.balancers[b.Name] = pool{b, backends}
	if err := p.program(ctx); err != nil {
		delete(p.balancers, b.Name)
		if existed {
			p.balancers[b.Name] = old
		}
		return errors.Join(fmt.Errorf("apply balancer %q: %w", b.Name, err), p.program(p.ctx))
	}
	return nil
}

func (p *Plane) conflict(b Balancer) error {
	rules := len(b.Ports)
	for name, other := range p.balancers {
		if name == b.Name {
			continue
		}
		rules += len(other.Ports)
		if other.Frontend != b.Frontend {
			continue
		}
		for _, port := range b.Ports {
			if slices.ContainsFunc(other.Ports, func(o Port) bool { return o.Protocol == port.Protocol && o.Port == port.Port }) {
				return fmt.Errorf("balancer %q: %s port %d of %s belongs to %q", b.Name, port.Protocol, port.Port, b.Frontend, name)
			}
		}
	}
	if rules > maxRules {
		return fmt.Errorf("balancer %q: %d rules in the region, and there may be %d", b.Name, rules, maxRules)
	}
	return nil
}

// Remove takes the balancer away and with it all its flows. It is no error if there is none.
func (p *Plane) Remove(ctx context.Context, name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, found := p.balancers[name]; !found || p.closed {
		return nil
	}
	delete(p.balancers, name)
	if err := p.program(ctx); err != nil {
		return fmt.Errorf("remove balancer %q: %w", name, err)
	}
	return nil
}

// Lose makes the zonal frontends of a zone silent; Restore brings them back.
func (p *Plane) Lose(ctx context.Context, zone string) error { return p.setLost(ctx, zone, true) }

// Restore undoes Lose.
func (p *Plane) Restore(ctx context.Context, zone string) error { return p.setLost(ctx, zone, false) }

func (p *Plane) setLost(ctx context.Context, zone string, lost bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.lost[zone] == lost {
		return nil
	}
	p.lost[zone] = lost
	return p.program(ctx)
}

// Close removes every rule and route and stops every probe. It is safe twice.
func (p *Plane) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.cancel()
	p.mu.Unlock()
	p.wg.Wait()

	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := errors.Join(p.erase(ctx), p.steering.clear())
	p.steering.close()
	if err != nil {
		return fmt.Errorf("close balancer: %w", err)
	}
	return nil
}
