package balancer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/nines-ha/nines/internal/namespace"
)

const (
	tableBase    = 20000 // routing table of a backend: tableBase + its index
	rulePriority = 10000
	markMask     = ^uint32(closing)
	lastMetric   = 1 << 20
)

// A way is one router's part in steering: "mark -> table" rules, and a table
// with one route for each backend.
type way struct{ handle *netlink.Handle }

func newWay(router *namespace.Set) (*way, error) {
	at := netns.None()
	if router.Net != nil {
		at = netns.NsHandle(router.Net.Fd())
	}
	handle, err := netlink.NewHandleAt(at, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink in a router's namespace: %w", err)
	}
	w := &way{handle}
	if err := w.clear(); err != nil {
		handle.Close()
		return nil, err
	}
	return w, nil
}

// open makes table i, with nothing in it but a last resort: without that, a
// packet for a backend whose link is down would be routed like any other.
func (w *way) open(i int) error {
	err := w.handle.RouteReplace(&netlink.Route{Dst: everywhere(), Table: tableBase + i, Type: unix.RTN_BLACKHOLE, Priority: lastMetric})
	if err == nil {
		if err = w.handle.RuleAdd(ruleFor(i)); errors.Is(err, unix.EEXIST) {
			err = nil
		}
	}
	if err != nil {
		return errors.Join(err, w.empty(tableBase+i))
	}
	return nil
}

// direct points table i at a neighbour. One that is not on a link of the
// router, be it for now, keeps the last resort.
func (w *way) direct(i int, backend netip.Addr) error {
	found, err := w.handle.RouteGet(backend.AsSlice())
	if err != nil || len(found) == 0 || found[0].Gw != nil {
		return nil
	}
	return w.handle.RouteReplace(&netlink.Route{Dst: everywhere(), Gw: backend.AsSlice(), LinkIndex: found[0].LinkIndex, Table: tableBase + i})
}

// relayed points table i at the router of the backend's zone, by the MAC that
// means this backend there.
func (w *way) relayed(i int, backend netip.Addr, device string) error {
	link, err := w.handle.LinkByName(device)
	if err != nil || link.Attrs().Flags&net.FlagUp == 0 {
		return nil // the zone is away: the last resort is the answer
	}
	index := link.Attrs().Index
	err = w.handle.NeighSet(&netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, IP: backend.AsSlice(), HardwareAddr: mac(i)})
	if err != nil {
		return err
	}
	return w.handle.RouteReplace(&netlink.Route{Dst: everywhere(), Gw: backend.AsSlice(), LinkIndex: index, Flags: int(netlink.FLAG_ONLINK), Table: tableBase + i})
}

// directed are the tables that have more than the last resort.
func (w *way) directed() (map[int]bool, error) {
	routes, err := w.handle.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list routes of a router: %w", err)
	}
	tables := map[int]bool{}
	for _, route := range routes {
		if route.Table > tableBase && route.Table <= tableBase+maxIndex && route.Type == unix.RTN_UNICAST {
			tables[route.Table] = true
		}
	}
	return tables, nil
}

func (w *way) remove(i int) error {
	if err := w.handle.RuleDel(ruleFor(i)); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return w.empty(tableBase + i)
}

func (w *way) forget(backend netip.Addr, device string) error {
	link, err := w.handle.LinkByName(device)
	if err != nil {
		return nil // and its neighbours with it
	}
	err = w.handle.NeighDel(&netlink.Neigh{LinkIndex: link.Attrs().Index, IP: backend.AsSlice()})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// clear removes every rule and route of the balancer, also those of an earlier run.
func (w *way) clear() error {
	rules, err := w.handle.RuleList(netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list rules of a router: %w", err)
	}
	var problems []error
	for _, rule := range rules {
		if rule.Priority == rulePriority && rule.Mark&^uint32(maxIndex) == markBase {
			problems = append(problems, w.handle.RuleDel(&rule), w.empty(rule.Table))
		}
	}
	return errors.Join(problems...)
}

func (w *way) empty(table int) error {
	routes, err := w.handle.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return err
	}
	var problems []error
	for _, route := range routes {
		if err := w.handle.RouteDel(&route); err != nil && !errors.Is(err, unix.ESRCH) {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

func ruleFor(i int) *netlink.Rule {
	rule := netlink.NewRule()
	mask := markMask
	rule.Family = netlink.FAMILY_V4
	rule.Priority = rulePriority
	rule.Mark = markBase | uint32(i)
	rule.Mask = &mask
	rule.Table = tableBase + i
	return rule
}

func everywhere() *net.IPNet {
	return &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
}
