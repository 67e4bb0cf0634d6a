package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/nines-ha/nines/internal/namespace"
)

// host is a network namespace and the kernel's door to it.
type host struct {
	*namespace.Set
	link *netlink.Handle
}

// adopt prepares a namespace: loopback up, and for routers forwarding on and no
// reverse-path filter, because answers of the load balancer's flows come back
// another way than they went.
func adopt(set *namespace.Set, router bool) (*host, error) {
	handle, err := netlink.NewHandleAt(netns.NsHandle(set.Net.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	h := &host{Set: set, link: handle}
	lo, err := handle.LinkByName("lo")
	if err == nil {
		err = handle.LinkSetUp(lo)
	}
	if err == nil && router {
		err = set.Sysctl(map[string]string{
			"ipv4/ip_forward":                  "1",
			"ipv4/conf/all/rp_filter":          "0",
			"ipv4/conf/default/rp_filter":      "0",
			"ipv4/conf/all/send_redirects":     "0",
			"ipv4/conf/default/send_redirects": "0",
		})
	}
	if err != nil {
		handle.Close()
		return nil, fmt.Errorf("prepare network namespace: %w", err)
	}
	return h, nil
}

func newHost(router bool) (*host, error) {
	set, err := namespace.NewNet()
	if err != nil {
		return nil, err
	}
	h, err := adopt(set, router)
	if err != nil {
		set.Close()
	}
	return h, err
}

// connect lays a cable: device name in h with address and MAC, peer in the other host.
func (h *host) connect(name string, mac []byte, other *host, peer string, peerMAC []byte) error {
	veth := &netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: name, HardwareAddr: mac},
		PeerName:         peer,
		PeerHardwareAddr: peerMAC,
		PeerNamespace:    netlink.NsFd(int(other.Net.Fd())),
	}
	if err := h.link.LinkAdd(veth); err != nil {
		return fmt.Errorf("link %s to %s: %w", name, peer, err)
	}
	if err := h.up(name); err != nil {
		return err
	}
	return other.up(peer)
}

func (h *host) bridge(name string, mac []byte) error {
	if err := h.link.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name, HardwareAddr: mac}}); err != nil {
		return fmt.Errorf("bridge %s: %w", name, err)
	}
	return h.up(name)
}

func (h *host) up(name string) error {
	l, err := h.link.LinkByName(name)
	if err == nil {
		err = h.link.LinkSetUp(l)
	}
	if err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	return nil
}

func (h *host) setUp(name string, up bool) error {
	if up {
		return h.up(name)
	}
	l, err := h.link.LinkByName(name)
	if err == nil {
		err = h.link.LinkSetDown(l)
	}
	if err != nil {
		return fmt.Errorf("take %s down: %w", name, err)
	}
	return nil
}

func (h *host) enslave(port, bridge string) error {
	p, err := h.link.LinkByName(port)
	if err != nil {
		return err
	}
	b, err := h.link.LinkByName(bridge)
	if err != nil {
		return err
	}
	return h.link.LinkSetMaster(p, b)
}

func (h *host) address(device string, p netip.Prefix) error {
	l, err := h.link.LinkByName(device)
	if err == nil {
		err = h.link.AddrReplace(l, &netlink.Addr{IPNet: ipNet(p)})
	}
	if err != nil {
		return fmt.Errorf("address %s on %s: %w", p, device, err)
	}
	return nil
}

// neighbour pins an address to its MAC. Clouds do not resolve by broadcast, and
// so a packet to a dead machine is lost in silence, not answered "unreachable".
func (h *host) neighbour(device string, addr netip.Addr, mac []byte) error {
	l, err := h.link.LinkByName(device)
	if err == nil {
		err = h.link.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: addr.AsSlice(), HardwareAddr: net.HardwareAddr(mac)})
	}
	if err != nil {
		return fmt.Errorf("neighbour %s on %s: %w", addr, device, err)
	}
	return nil
}

func (h *host) route(to netip.Prefix, via netip.Addr) error {
	err := h.link.RouteReplace(&netlink.Route{Dst: ipNet(to), Gw: via.AsSlice()})
	if err != nil {
		return fmt.Errorf("route %s via %s: %w", to, via, err)
	}
	return nil
}

// own makes every address of a network the host's, without listing them.
func (h *host) own(p netip.Prefix) error {
	lo, err := h.link.LinkByName("lo")
	if err == nil {
		err = h.link.RouteReplace(&netlink.Route{
			LinkIndex: lo.Attrs().Index, Dst: ipNet(p), Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST,
		})
	}
	if err != nil {
		return fmt.Errorf("own %s: %w", p, err)
	}
	return nil
}

// onlink reaches a gateway that no subnet of the device covers.
func (h *host) onlink(device string, gw netip.Addr) error {
	l, err := h.link.LinkByName(device)
	if err == nil {
		err = h.link.RouteReplace(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(netip.PrefixFrom(gw, 32)), Scope: netlink.SCOPE_LINK})
	}
	if err != nil {
		return fmt.Errorf("route to gateway %s on %s: %w", gw, device, err)
	}
	return nil
}

func (h *host) unroute(to netip.Prefix) error {
	err := h.link.RouteDel(&netlink.Route{Dst: ipNet(to)})
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("remove route %s: %w", to, err)
	}
	return nil
}

// blackhole loses what no better route takes, without a word to the sender.
func (h *host) blackhole(to netip.Prefix) error {
	err := h.link.RouteReplace(&netlink.Route{Dst: ipNet(to), Type: unix.RTN_BLACKHOLE, Priority: 4096})
	if err != nil {
		return fmt.Errorf("blackhole %s: %w", to, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

var everywhere = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
