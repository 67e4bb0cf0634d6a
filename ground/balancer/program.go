package balancer

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/nines-ha/nines/internal/namespace"
)

// program makes probes, routes and rules what the balancers want: routes before
// the rules that use them, and gone after.
func (p *Plane) program(ctx context.Context) error {
	p.stale = true
	wanted := map[Backend]bool{}
	targets := map[target]bool{}
	for _, b := range p.balancers {
		for _, backend := range b.backends {
			wanted[backend.key()] = true
			if err := p.steering.add(backend); err != nil {
				return err
			}
			for _, port := range b.Ports {
				if port.Probe != (Probe{}) {
					t := target{backend.Address, port.Probe}
					targets[t] = true
					p.watch(t, backend.Node)
				}
			}
		}
	}
	if err := p.relay(ctx); err != nil {
		return err
	}
	script, chains := ruleset(p.rules(), p.frontends(), p.marks(wanted), p.chains)
	if script != p.script || !slices.Equal(chains, p.chains) {
		if err := p.load(ctx, p.router, script); err != nil {
			return err
		}
		p.script, p.chains = script, chains
	}
	for t, prober := range p.probers {
		if !targets[t] {
			prober.stop()
			delete(p.probers, t)
		}
	}
	for backend := range p.steering.index {
		if !wanted[backend] {
			if err := p.steering.remove(backend); err != nil {
				return err
			}
		}
	}
	if err := p.relay(ctx); err != nil {
		return err
	}
	p.stale = false
	return nil
}

func (p *Plane) relay(ctx context.Context) error {
	for name, zone := range p.cfg.Zones {
		script := relay(zone.Uplink, p.steering.marksOf(name))
		if script == p.relays[name] {
			continue
		}
		if err := p.load(ctx, zone.Router, script); err != nil {
			return fmt.Errorf("zone %s: %w", name, err)
		}
		p.relays[name] = script
	}
	return nil
}

func (p *Plane) sorted() []pool {
	pools := make([]pool, 0, len(p.balancers))
	for _, b := range p.balancers {
		pools = append(pools, b)
	}
	slices.SortFunc(pools, func(x, y pool) int { return strings.Compare(x.Name, y.Name) })
	return pools
}

func (p *Plane) rules() []rule {
	var rules []rule
	for _, b := range p.sorted() {
		if b.Zone != "" && p.lost[b.Zone] {
			continue
		}
		for _, port := range b.Ports {
			r := rule{frontend: b.Frontend, protocol: port.Protocol, port: port.Port, affinity: b.Affinity, idle: b.Idle, reset: b.Reset, pool: len(b.backends)}
			for _, backend := range b.backends {
				if port.Probe == (Probe{}) || p.probers[target{backend.Address, port.Probe}].state == Up {
					r.healthy = append(r.healthy, p.steering.mark(backend))
				}
			}
			rules = append(rules, r)
		}
	}
	return rules
}

func (p *Plane) frontends() []netip.Addr {
	var frontends []netip.Addr
	for _, b := range p.balancers {
		frontends = append(frontends, b.Frontend)
	}
	slices.SortFunc(frontends, netip.Addr.Compare)
	return slices.Compact(frontends)
}

func (p *Plane) marks(wanted map[Backend]bool) []uint32 {
	var marks []uint32
	for backend := range wanted {
		marks = append(marks, p.steering.mark(backend))
	}
	slices.SortFunc(marks, cmp.Compare[uint32])
	return marks
}

// load runs nft in a router's namespace.
func (p *Plane) load(ctx context.Context, router *namespace.Set, script string) error {
	ctx, cancel := context.WithTimeout(ctx, nftTimeout)
	defer cancel()
	return router.Do(func() error {
		cmd := exec.CommandContext(ctx, p.nft, "-f", "-")
		cmd.Stdin = strings.NewReader(script)
		cmd.WaitDelay = time.Second
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s -f -: %w: %s", p.nft, err, firstLines(out.String(), 3))
		}
		return nil
	})
}

func firstLines(text string, n int) string {
	lines := strings.SplitN(strings.TrimSpace(text), "\n", n+1)
	return strings.Join(lines[:min(n, len(lines))], "; ")
}
