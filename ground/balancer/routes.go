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
)

// steering sends marked packets to backends: a rule "mark -> table" and a table
// with one route for each backend.
type steering struct {
	handle *netlink.Handle
	index  map[netip.Addr]int
	next   int
}

func newSteering(router *namespace.Set) (*steering, error) {
	at := netns.None()
	if router.Net != nil {
		at = netns.NsHandle(router.Net.Fd())
	}
	handle, err := netlink.NewHandleAt(at, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink in the router's namespace: %w", err)
	}
	s := &steering{handle: handle, index: map[netip.Addr]int{}, next: 1}
	if err := s.clear(); err != nil {
		handle.Close()
		return nil, err
	}
	return s, nil
}

func (s *steering) mark(backend netip.Addr) uint32 {
	return markBase | uint32(s.index[backend])
}

// add is a no-op for a backend that is there. An index is not given to another
// backend before all others were used, so that a remembered flow of a backend
// that left does not wake up at a stranger's.
func (s *steering) add(backend netip.Addr) error {
	if _, found := s.index[backend]; found {
		return nil
	}
	if len(s.index) >= maxBackends {
		return fmt.Errorf("steer to %s: there are %d backends, and there may be no more", backend, maxBackends)
	}
	used := map[int]bool{}
	for _, i := range s.index {
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

	// Without a last resort, a packet for a backend whose link went down would
	// be routed like any other, to somewhere else.
	if err := s.handle.RouteReplace(&netlink.Route{Dst: everywhere(), Table: tableBase + i, Type: unix.RTN_BLACKHOLE, Priority: 1 << 20}); err != nil {
		return fmt.Errorf("last resort of backend %s: %w", backend, err)
	}
	if err := s.handle.RuleAdd(ruleFor(i)); err != nil {
		return errors.Join(fmt.Errorf("rule for backend %s: %w", backend, err), s.empty(tableBase+i))
	}
	s.index[backend] = i
	return s.restore(backend, i)
}

// restore sets the route to a backend. One that is not on a link of the router,
// be it for now, keeps its last resort alone.
func (s *steering) restore(backend netip.Addr, i int) error {
	found, err := s.handle.RouteGet(backend.AsSlice())
	if err != nil || len(found) == 0 || found[0].Gw != nil {
		return nil
	}
	if err := s.handle.RouteReplace(routeTo(backend, found[0].LinkIndex, i)); err != nil {
		return fmt.Errorf("route to backend %s: %w", backend, err)
	}
	return nil
}

func (s *steering) remove(backend netip.Addr) error {
	i, found := s.index[backend]
	if !found {
		return nil
	}
	delete(s.index, backend)
	if err := s.handle.RuleDel(ruleFor(i)); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove the rule for backend %s: %w", backend, err)
	}
	if err := s.empty(tableBase + i); err != nil {
		return fmt.Errorf("remove the route to backend %s: %w", backend, err)
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

func (s *steering) empty(table int) error {
	routes, err := s.handle.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return err
	}
	var problems []error
	for _, route := range routes {
		if err := s.handle.RouteDel(&route); err != nil && !errors.Is(err, unix.ESRCH) {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// clear removes every rule and route of the balancer, also those of an earlier run.
func (s *steering) clear() error {
	rules, err := s.handle.RuleList(netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list rules of the router: %w", err)
	}
	var problems []error
	for _, rule := range rules {
		if rule.Priority == rulePriority && rule.Mark&^uint32(maxIndex) == markBase {
			problems = append(problems, s.handle.RuleDel(&rule), s.empty(rule.Table))
		}
	}
	clear(s.index)
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("clear the balancer's routes: %w", err)
	}
	return nil
}

func (s *steering) close() { s.handle.Close() }

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

func routeTo(backend netip.Addr, link, i int) *netlink.Route {
	return &netlink.Route{Dst: everywhere(), Gw: backend.AsSlice(), LinkIndex: link, Table: tableBase + i}
}

func everywhere() *net.IPNet {
	return &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
}
