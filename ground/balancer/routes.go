package balancer

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

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

// steering takes marked packets to backends, through the region's router and,
// for a backend in a zone, the zone's.
type steering struct {
	region *way
	zones  map[string]*zoneWay
	index  map[Backend]int
	next   int
}

type zoneWay struct {
	*way
	link string // the region router's device towards the zone
}

func newSteering(router *namespace.Set, zones map[string]Zone) (*steering, error) {
	region, err := newWay(router)
	if err != nil {
		return nil, err
	}
	s := &steering{region: region, zones: map[string]*zoneWay{}, index: map[Backend]int{}, next: 1}
	for name, zone := range zones {
		w, err := newWay(zone.Router)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("zone %s: %w", name, err)
		}
		s.zones[name] = &zoneWay{w, zone.Link}
	}
	return s, nil
}

func (s *steering) mark(backend Backend) uint32 { return markBase | uint32(s.index[backend.key()]) }

// key leaves out what does not say where a backend is.
func (b Backend) key() Backend { return Backend{Address: b.Address, Zone: b.Zone} }

// add is a no-op for a backend that is there. An index is not given to another
// backend before all others were used, so that a remembered flow of a backend
// that left does not wake up at a stranger's.
func (s *steering) add(backend Backend) error {
	backend = backend.key()
	if _, found := s.index[backend]; found {
		return nil
	}
	if len(s.index) >= maxBackends {
		return fmt.Errorf("steer to %s: there are %d backends, and there may be no more", backend.Address, maxBackends)
	}
	zone := s.zones[backend.Zone]
	if backend.Zone != "" && zone == nil {
		return fmt.Errorf("steer to %s: the balancer has no zone %q", backend.Address, backend.Zone)
	}
	used := map[int]bool{}
	for i := range maps.Values(s.index) {
		used[i] = true
	}
	for used[s.next] || s.next > maxIndex {
		s.next++
		if s.next > maxIndex {
			s.next = 1
		}
	}
	i := s.next
	s.next++
	err := s.region.open(i)
	if err == nil && zone != nil {
		err = zone.open(i)
	}
	s.index[backend] = i
	if err != nil {
		return errors.Join(fmt.Errorf("steer to %s: %w", backend.Address, err), s.remove(backend))
	}
	return s.restore(backend, i)
}

func (s *steering) restore(backend Backend, i int) error {
	var err error
	if zone := s.zones[backend.Zone]; zone != nil {
		err = errors.Join(zone.direct(i, backend.Address), s.region.relayed(i, backend.Address, zone.link))
	} else {
		err = s.region.direct(i, backend.Address)
	}
	if err != nil {
		return fmt.Errorf("route to backend %s: %w", backend.Address, err)
	}
	return nil
}

// refresh puts back what the kernel removed when a link went down and returned.
func (s *steering) refresh() error {
	var problems []error
	for backend, i := range s.index {
		problems = append(problems, s.restore(backend, i))
	}
	return errors.Join(problems...)
}

func (s *steering) remove(backend Backend) error {
	i, found := s.index[backend]
	if !found {
		return nil
	}
	delete(s.index, backend)
	err := s.region.remove(i)
	if zone := s.zones[backend.Zone]; zone != nil {
		err = errors.Join(err, zone.remove(i), s.region.forget(backend.Address, zone.link))
	}
	if err != nil {
		return fmt.Errorf("remove the way to backend %s: %w", backend.Address, err)
	}
	return nil
}

// marksOf are the marks of a zone's backends.
func (s *steering) marksOf(zone string) []uint32 {
	var marks []uint32
	for backend := range s.index {
		if backend.Zone == zone {
			marks = append(marks, s.mark(backend))
		}
	}
	slices.Sort(marks)
	return marks
}

// clear removes everything, and is safe on a half-made steering.
func (s *steering) clear() error {
	var problems []error
	for _, backend := range slices.Collect(maps.Keys(s.index)) {
		problems = append(problems, s.remove(backend))
	}
	return errors.Join(problems...)
}

func (s *steering) close() {
	s.region.handle.Close()
	for _, zone := range s.zones {
		zone.handle.Close()
	}
}
