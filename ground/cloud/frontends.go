package cloud

import (
	"fmt"
	"net/netip"
	"sync"
)

// frontends gives out frontend addresses: a Service keeps the one it has, gets
// the one it asks for, or the lowest free one of its network.
type frontends struct {
	public, internal netip.Prefix

	mu    sync.Mutex
	owner map[netip.Addr]string
}

// request is what a Service says of its address.
type request struct {
	service  string
	internal bool
	wanted   netip.Addr // zero: any
	current  netip.Addr // from its status; zero: none yet
}

func (f *frontends) take(r request) (netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	network, kind := f.public, "public"
	if r.internal {
		network, kind = f.internal, "internal"
	}
	for _, candidate := range []netip.Addr{r.wanted, r.current} {
		if !candidate.IsValid() {
			continue
		}
		owner := f.owner[candidate]
		usable := inside(network, candidate) && (owner == "" || owner == r.service)
		if usable {
			f.give(r.service, candidate)
			return candidate, nil
		}
		if candidate == r.wanted {
			if owner != "" && owner != r.service {
				return netip.Addr{}, fmt.Errorf("frontend address %s belongs to service %s", candidate, owner)
			}
			return netip.Addr{}, fmt.Errorf("frontend address %s is not one of the %s network %s", candidate, kind, network)
		}
	}
	for owned, owner := range f.owner { // it has one, but its status does not say so yet
		if owner == r.service && network.Contains(owned) {
			return owned, nil
		}
	}
	for candidate := network.Masked().Addr().Next(); inside(network, candidate); candidate = candidate.Next() {
		if f.owner[candidate] == "" {
			f.give(r.service, candidate)
			return candidate, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no free address in the %s frontend network %s; delete a service of type LoadBalancer", kind, network)
}

// keep reserves the address that a Service has, if it is free and still right.
func (f *frontends) keep(r request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	network := f.public
	if r.internal {
		network = f.internal
	}
	if r.current.IsValid() && inside(network, r.current) && f.owner[r.current] == "" && (!r.wanted.IsValid() || r.wanted == r.current) {
		f.give(r.service, r.current)
	}
}

func (f *frontends) give(service string, address netip.Addr) {
	f.drop(service)
	f.owner[address] = service
}

func (f *frontends) release(service string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop(service)
}

func (f *frontends) drop(service string) {
	for address, owner := range f.owner {
		if owner == service {
			delete(f.owner, address)
		}
	}
}

// inside leaves out the first and the last address, as a subnet does.
func inside(network netip.Prefix, a netip.Addr) bool {
	return network.Contains(a) && a != network.Masked().Addr() && network.Contains(a.Next())
}
