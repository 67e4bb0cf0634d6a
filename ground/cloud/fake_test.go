package cloud

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	"github.com/nines-ha/nines/ground/balancer"
)

// fabric is a region in memory.
type fabric struct {
	mu       sync.Mutex
	machines []Machine
	routes   []Route
}

func (f *fabric) Machines(context.Context) ([]Machine, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.machines), nil
}

func (f *fabric) Routes(context.Context) ([]Route, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.routes), nil
}

func (f *fabric) CreateRoute(_ context.Context, route Route) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.routes = slices.DeleteFunc(f.routes, func(r Route) bool { return r.PodCIDR == route.PodCIDR })
	f.routes = append(f.routes, route)
	return nil
}

func (f *fabric) DeleteRoute(_ context.Context, pods netip.Prefix) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.routes = slices.DeleteFunc(f.routes, func(r Route) bool { return r.PodCIDR == pods })
	return nil
}

func (f *fabric) change(edit func(machines []Machine) []Machine) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.machines = edit(f.machines)
}

func (f *fabric) route(node string) (Route, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.routes, func(r Route) bool { return r.Node == node })
	if i < 0 {
		return Route{}, false
	}
	return f.routes[i], true
}

// plane is a data plane that only remembers.
type plane struct {
	mu    sync.Mutex
	pools map[string]pool
}

type pool struct {
	balancer.Balancer
	backends []balancer.Backend
}

func (p *plane) Apply(_ context.Context, b balancer.Balancer, backends []balancer.Backend) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pools == nil {
		p.pools = map[string]pool{}
	}
	p.pools[b.Name] = pool{b, slices.Clone(backends)}
	return nil
}

func (p *plane) Remove(_ context.Context, name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pools, name)
	return nil
}

func (p *plane) get(name string) (pool, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, found := p.pools[name]
	return b, found
}

func machine(n int) Machine {
	return Machine{
		Name: name(n), Region: "westeurope", Zone: "westeurope-" + string(rune('0'+n)), Size: "Standard_D4ds_v5",
		ProviderID: ProviderID("fleet", "westeurope", "apps", n), Address: netip.AddrFrom4([4]byte{10, 10, byte(n), 11}), Running: true,
	}
}

func name(n int) string { return "aks-apps-" + string(rune('0'+n)) }
