// Package network is the cloud's network: a backbone, a router for each region,
// a router and switch for each zone, and the cables of machines. Call New inside
// the network namespace that is to be the backbone, AddRegion for each region,
// AddOutside for clients, then Attach machines. All of it lives in network namespaces and ends with the
// process. Where a packet cannot go it is lost in silence, as in Azure. It does
// no address translation and no load balancing.
package network

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/nines-ha/nines/internal/namespace"
)

// Fabric is the backbone that joins regions and clients.
type Fabric struct {
	backbone *host
	outside  *host // nil before AddOutside
}

// New makes the caller's network namespace the backbone.
func New() (*Fabric, error) {
	f, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return nil, err
	}
	h, err := adopt(&namespace.Set{Net: f}, true)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Fabric{backbone: h}, nil
}

// Region is a virtual network with its zones.
type Region struct {
	Plan   Plan
	router *host
	zones  []*zone // zones[0] is zone 1

	mu     sync.Mutex
	routes map[netip.Prefix]int // pod network to zone
}

type zone struct {
	*host
	cut   bool
	since time.Time // cut is what it is
}

// AddRegion builds the routers of a region and joins them to the backbone.
func (f *Fabric) AddRegion(plan Plan, zones int) (*Region, error) {
	if err := plan.Validate(zones, 1); err != nil {
		return nil, err
	}
	router, err := newHost(true)
	if err != nil {
		return nil, err
	}
	r := &Region{Plan: plan, router: router, routes: map[netip.Prefix]int{}}
	if err := f.join(r); err != nil {
		return nil, fmt.Errorf("region %d: %w", plan.Index, err)
	}
	for z := 1; z <= zones; z++ {
		if err := r.addZone(z); err != nil {
			return nil, fmt.Errorf("region %d zone %d: %w", plan.Index, z, err)
		}
	}
	return r, nil
}

func (f *Fabric) join(r *Region) error {
	world, router := r.Plan.backbone()
	name := fmt.Sprintf("region%d", r.Plan.Index)
	worldMAC, routerMAC := r.Plan.mac(1, 0, 1), r.Plan.mac(1, 0, 2)
	steps := []func() error{
		func() error { return f.backbone.connect(name, worldMAC, r.router, "backbone", routerMAC) },
		func() error { return f.backbone.address(name, world) },
		func() error { return r.router.address("backbone", router) },
		func() error { return r.router.route(everywhere, world.Addr()) },
		func() error { return r.router.address("lo", netip.PrefixFrom(Magic, 32)) },
		func() error { return r.router.bridge("platform", r.Plan.mac(2, 0, 1)) },
		func() error { return r.router.address("platform", gateway(r.Plan.Platform())) },
	}
	for _, p := range r.Plan.everything() {
		steps = append(steps,
			func() error { return f.backbone.route(p, router.Addr()) },
			func() error { return r.router.blackhole(p) })
	}
	return inOrder(steps)
}

func (r *Region) addZone(z int) error {
	h, err := newHost(true)
	if err != nil {
		return err
	}
	up, down := r.Plan.uplink(z)
	name := ZoneLink(z)
	upMAC, downMAC := r.Plan.mac(3, z, 1), r.Plan.mac(3, z, 2)
	r.zones = append(r.zones, &zone{host: h, since: time.Now()})
	return inOrder([]func() error{
		func() error { return r.router.connect(name, upMAC, h, Uplink, downMAC) },
		func() error { return r.router.address(name, up) },
		func() error { return h.address(Uplink, down) },
		func() error { return r.router.neighbour(name, down.Addr(), downMAC) },
		func() error { return h.neighbour(Uplink, up.Addr(), upMAC) },
		func() error { return h.bridge("machines", r.Plan.mac(4, z, 1)) },
		func() error { return h.address("machines", gateway(r.Plan.Zone(z))) },
		func() error { return h.route(everywhere, up.Addr()) },
		func() error { return r.router.route(r.Plan.Zone(z), down.Addr()) },
	})
}

func inOrder(steps []func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// Router is the namespace of the region's router, where the cloud's own
// services answer: DNS, the registry, the load balancer.
func (r *Region) Router() *namespace.Set { return r.router.Set }

// ZoneRouter is the namespace of the router of zone z, counted from 1.
func (r *Region) ZoneRouter(z int) *namespace.Set { return r.zones[z-1].Set }

// Uplink is a zone router's device towards the region's router.
const Uplink = "uplink"

// ZoneLink is the region router's device towards zone z.
func ZoneLink(z int) string { return fmt.Sprintf("zone%d", z) }

// AttachNode plugs node n of zone z in, in place of a machine that was there.
func (r *Region) AttachNode(z, n int, machine *namespace.Set) error {
	if err := r.DetachNode(z, n); err != nil {
		return err
	}
	port := nodePort(n)
	mac := r.Plan.mac(5, z, n)
	return r.attach(r.zones[z-1].host, "machines", port, gateway(r.Plan.Zone(z)), r.Plan.Node(z, n), mac, r.Plan.mac(4, z, 1), machine)
}

func nodePort(n int) string { return fmt.Sprintf("node%d", n) }

// AttachPlatform plugs a machine of the cloud itself in, beside the zones.
func (r *Region) AttachPlatform(addr netip.Addr, machine *namespace.Set) error {
	k := int(addr.As4()[3])
	return r.attach(r.router, "platform", fmt.Sprintf("platform%d", k), gateway(r.Plan.Platform()), addr, r.Plan.mac(6, 0, k), r.Plan.mac(2, 0, 1), machine)
}

func (r *Region) attach(sw *host, bridge, port string, gw netip.Prefix, addr netip.Addr, mac, gwMAC []byte, machine *namespace.Set) error {
	h, err := adopt(machine, true)
	if err != nil {
		return err
	}
	defer h.link.Close()
	err = inOrder([]func() error{
		func() error { return sw.connect(port, nil, h, "eth0", mac) },
		func() error { return sw.enslave(port, bridge) },
		func() error { return sw.neighbour(bridge, addr, mac) },
		// A /32: as in Azure even a neighbour is reached through the router.
		func() error { return h.address("eth0", netip.PrefixFrom(addr, 32)) },
		func() error { return h.onlink("eth0", gw.Addr()) },
		func() error { return h.neighbour("eth0", gw.Addr(), gwMAC) },
		func() error { return h.route(everywhere, gw.Addr()) },
	})
	if err != nil {
		return fmt.Errorf("attach %s: %w", addr, err)
	}
	return nil
}

// DetachNode pulls the cable of a node out for good, as when the machine is off.
// A node that is not attached is no error.
func (r *Region) DetachNode(z, n int) error {
	h := r.zones[z-1].host
	l, err := h.link.LinkByName(nodePort(n))
	if err != nil {
		return nil
	}
	return h.link.LinkDel(l)
}

// CutNode takes a node's link down, or up again: a partition of one machine.
func (r *Region) CutNode(z, n int, cut bool) error {
	return r.zones[z-1].setUp(nodePort(n), !cut)
}

// CutZone loses every packet between a zone and all else, or lets them pass
// again. Inside the zone the network goes on.
func (r *Region) CutZone(ctx context.Context, z int, cut bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	zone := r.zones[z-1]
	if zone.cut == cut {
		return nil
	}
	began := time.Now()
	rules := "table inet partition\ndelete table inet partition\n"
	if cut {
		rules = `table inet partition {
	chain forward {
		type filter hook forward priority raw; policy accept;
		iifname "uplink" drop
		oifname "uplink" drop
	}
	chain input {
		type filter hook input priority raw; policy accept;
		iifname "uplink" drop
	}
	chain output {
		type filter hook output priority raw; policy accept;
		oifname "uplink" drop
	}
}
`
	}
	if err := zone.nft(ctx, rules); err != nil {
		return fmt.Errorf("cut zone %d: %w", z, err)
	}
	zone.cut, zone.since = cut, began
	if !cut {
		zone.since = time.Now()
	}
	return nil
}

// ZoneCut says whether CutZone has cut zone z, and since when that is so: from
// the beginning of a cut, from the end of its mending.
func (r *Region) ZoneCut(z int) (cut bool, since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.zones[z-1].cut, r.zones[z-1].since
}

func (h *host) nft(ctx context.Context, rules string) error {
	return h.Do(func() error {
		cmd := exec.CommandContext(ctx, "nft", "-f", "-")
		cmd.Stdin = bytes.NewBufferString(rules)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("nft: %w: %s", err, bytes.TrimSpace(out))
		}
		return nil
	})
}

// Route sends a pod network to the node at addr in zone z.
func (r *Region) Route(pods netip.Prefix, z int, addr netip.Addr) error {
	_, down := r.Plan.uplink(z)
	if err := r.zones[z-1].route(pods, addr); err != nil {
		return err
	}
	if err := r.router.route(pods, down.Addr()); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.routes[pods] = z
	return nil
}

// Unroute takes a pod network's routes away; an unknown one is no error.
func (r *Region) Unroute(pods netip.Prefix) error {
	r.mu.Lock()
	z, ok := r.routes[pods]
	delete(r.routes, pods)
	r.mu.Unlock()
	if !ok {
		return nil
	}
	if err := r.zones[z-1].unroute(pods); err != nil {
		return err
	}
	return r.router.unroute(pods)
}
