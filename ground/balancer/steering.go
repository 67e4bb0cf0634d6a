package balancer

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/nines-ha/nines/internal/namespace"
)

// steering takes marked packets to backends, through the region's router and,
// for a backend in a zone, the zone's.
type steering struct {
	region *way
	zones  map[string]*zoneWay
	index  map[Backend]int
	next   int
	nodes  map[int]string // by index, also of backends that left
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
	s := &steering{region: region, zones: map[string]*zoneWay{}, index: map[Backend]int{}, next: 1, nodes: map[int]string{}}
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
	node := backend.Node
	backend = backend.key()
	if i, found := s.index[backend]; found {
		s.nodes[i] = node
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
	s.index[backend], s.nodes[i] = i, node
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
// It changes nothing else, since each change of a route makes the kernel look
// all of them up again.
func (s *steering) refresh() error {
	direct, err := s.region.directed()
	if err != nil {
		return err
	}
	inZone := map[string]map[int]bool{}
	for name, zone := range s.zones {
		if inZone[name], err = zone.directed(); err != nil {
			return fmt.Errorf("zone %s: %w", name, err)
		}
	}
	var problems []error
	for backend, i := range s.index {
		if zone := inZone[backend.Zone]; !direct[tableBase+i] || zone != nil && !zone[tableBase+i] {
			problems = append(problems, s.restore(backend, i))
		}
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
