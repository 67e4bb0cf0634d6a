package network

import (
	"fmt"
	"net/netip"

	"github.com/nines-ha/nines/internal/namespace"
)

// Clients are the addresses of those who come from outside all regions.
func Clients() netip.Prefix { return netip.PrefixFrom(v4(100, 65, 0, 0), 16) }

// MaxClients is how many addresses of Clients are given out.
const MaxClients = 1<<16 - 2

// Client is the address of client k, counted from 0.
func Client(k int) (netip.Addr, error) {
	if k < 0 || k >= MaxClients {
		return netip.Addr{}, fmt.Errorf("client %d: the address plan has the clients 0 to %d", k, MaxClients-1)
	}
	return v4(100, 65, (k+1)>>8, (k+1)&0xff), nil
}

func outsideCable() (world, clients netip.Prefix) {
	return netip.PrefixFrom(v4(100, 64, 255, 1), 30), netip.PrefixFrom(v4(100, 64, 255, 2), 30)
}

// AddOutside joins a place outside every region to the backbone, from which
// clients come. A socket there may be bound to every address of Clients.
func (f *Fabric) AddOutside() error {
	h, err := newHost(false)
	if err != nil {
		return err
	}
	const cable = "outside"
	world, clients := outsideCable()
	worldMAC, clientsMAC := Plan{}.mac(7, 0, 1), Plan{}.mac(7, 0, 2)
	err = inOrder([]func() error{
		func() error { return f.backbone.connect(cable, worldMAC, h, "eth0", clientsMAC) },
		func() error { return f.backbone.address(cable, world) },
		func() error { return h.address("eth0", clients) },
		func() error { return f.backbone.neighbour(cable, clients.Addr(), clientsMAC) },
		func() error { return h.neighbour("eth0", world.Addr(), worldMAC) },
		func() error { return h.own(Clients()) },
		func() error { return h.route(everywhere, world.Addr()) },
		func() error { return f.backbone.route(Clients(), clients.Addr()) },
	})
	if err != nil {
		return fmt.Errorf("outside: %w", err)
	}
	f.outside = h
	return nil
}

// Outside is where clients are; nil before AddOutside.
func (f *Fabric) Outside() *namespace.Set {
	if f.outside == nil {
		return nil
	}
	return f.outside.Set
}

// Backbone is the network between regions and clients.
func (f *Fabric) Backbone() *namespace.Set { return f.backbone.Set }
