package network

import (
	"fmt"
	"net/netip"
)

// The most a ground can hold, from the address plan below.
const (
	MaxRegions = 40
	MaxZones   = 9
	MaxNodes   = 200 // a zone
)

// Magic is the address from which Azure's platform answers DNS and sends health
// probes in every virtual network.
// https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
var Magic = netip.MustParseAddr("168.63.129.16")

// Plan is the address plan of one region, counted from 0: where a thing is
// follows from its index alone.
type Plan struct{ Index int }

func v4(a, b, c, d int) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(a), byte(b), byte(c), byte(d)})
}

// VNet is the region's virtual network.
func (p Plan) VNet() netip.Prefix { return netip.PrefixFrom(v4(10, 10+p.Index, 0, 0), 16) }

// Zone is the subnet of zone z, counted from 1; its gateway is the first address.
func (p Plan) Zone(z int) netip.Prefix { return netip.PrefixFrom(v4(10, 10+p.Index, z, 0), 24) }

// Node is the address of node n of zone z, both counted from 1.
func (p Plan) Node(z, n int) netip.Addr { return v4(10, 10+p.Index, z, 10+n) }

// Platform is the subnet of what the cloud runs beside the zones; its gateway is
// the first address.
func (p Plan) Platform() netip.Prefix { return netip.PrefixFrom(v4(10, 10+p.Index, 240, 0), 24) }

// ControlPlane is where the region's API server answers.
func (p Plan) ControlPlane() netip.Addr { return v4(10, 10+p.Index, 240, 10) }

// Registry is where the region's container registry answers.
func (p Plan) Registry() netip.Addr { return v4(10, 10+p.Index, 240, 1) }

// Collector is where the region's collector of traces answers, on a port of its own.
func (p Plan) Collector() netip.Addr { return p.Registry() }

// Git is where the managed Git host answers, in the first region.
func (p Plan) Git() netip.Addr { return v4(10, 10+p.Index, 240, 11) }

// Managed is the address of managed service k, counted from 0.
func (p Plan) Managed(k int) netip.Addr { return v4(10, 10+p.Index, 240, 20+k) }

// Pods is the cluster's pod network, of which each node gets a /24.
func (p Plan) Pods() netip.Prefix { return netip.PrefixFrom(v4(10, 100+p.Index, 0, 0), 16) }

// Services is the cluster's service network.
func (p Plan) Services() netip.Prefix { return netip.PrefixFrom(v4(10, 200+p.Index, 0, 0), 16) }

// APIService is the cluster address of the API server, DNSService that of the DNS.
func (p Plan) APIService() netip.Addr { return v4(10, 200+p.Index, 0, 1) }
func (p Plan) DNSService() netip.Addr { return v4(10, 200+p.Index, 0, 10) }

// Frontends are the load balancer's public addresses, from the range that RFC
// 2544 sets aside for tests: none of them is anyone's.
func (p Plan) Frontends() netip.Prefix { return netip.PrefixFrom(v4(198, 18, p.Index, 0), 24) }

// InternalFrontends are the load balancer's addresses inside the virtual network.
func (p Plan) InternalFrontends() netip.Prefix {
	return netip.PrefixFrom(v4(10, 10+p.Index, 230, 0), 24)
}

func (p Plan) uplink(z int) (router, zone netip.Prefix) {
	return netip.PrefixFrom(v4(10, 10+p.Index, 250, 4*z+1), 30), netip.PrefixFrom(v4(10, 10+p.Index, 250, 4*z+2), 30)
}

func (p Plan) backbone() (world, router netip.Prefix) {
	return netip.PrefixFrom(v4(100, 64, p.Index, 1), 30), netip.PrefixFrom(v4(100, 64, p.Index, 2), 30)
}

// everything is what the backbone sends to this region.
func (p Plan) everything() []netip.Prefix {
	return []netip.Prefix{p.VNet(), p.Pods(), p.Services(), p.Frontends()}
}

// mac is a fixed, locally administered address: an unplanned one changes when a
// bridge port goes away, and a healthy node then loses its gateway for seconds.
func (p Plan) mac(kind byte, z, n int) []byte {
	return []byte{0x02, kind, byte(p.Index), byte(z), byte(n >> 8), byte(n)}
}

func gateway(subnet netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(subnet.Addr().Next(), subnet.Bits())
}

// Validate says whether the plan has room for a region of that shape.
func (p Plan) Validate(zones, nodes int) error {
	switch {
	case p.Index >= MaxRegions:
		return fmt.Errorf("region %d: the address plan ends at %d regions", p.Index+1, MaxRegions)
	case zones < 1 || zones > MaxZones:
		return fmt.Errorf("%d zones: a region has 1 to %d", zones, MaxZones)
	case nodes < 1 || nodes > MaxNodes:
		return fmt.Errorf("%d nodes in a zone: a zone has 1 to %d", nodes, MaxNodes)
	}
	return nil
}
