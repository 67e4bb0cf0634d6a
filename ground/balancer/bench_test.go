package balancer

import (
	"fmt"
	"net/netip"
	"testing"
)

// BenchmarkFlow opens a flow, asks once and closes it: through the balancer
// and, as the bare operation to compare with, straight at a machine.
func BenchmarkFlow(b *testing.B) {
	r := newZonedRegion(b, 3, 1)
	p := r.open(Config{})
	must(b, p.Apply(b.Context(), web(healthz()), r.backends()))
	eventually(b, "all backends up", allAre(p, Up))
	b.Run("balanced", func(b *testing.B) {
		for b.Loop() {
			_, err := r.ask(patience)
			must(b, err)
		}
	})
	b.Run("direct", func(b *testing.B) {
		m := r.machines[0]
		l, err := m.set.Listen("tcp", netip.AddrPortFrom(m.Address, port).String())
		must(b, err)
		defer l.Close()
		go m.accept(l)
		for b.Loop() {
			flow, err := r.dialTo(m.Address, patience)
			must(b, err)
			_, err = flow.ask(patience)
			must(b, err)
			flow.Close()
		}
	})
}

// BenchmarkApply changes one balancer among others, of 3 nodes and 2 ports each.
func BenchmarkApply(b *testing.B) {
	for _, others := range []int{0, 20} {
		b.Run(fmt.Sprintf("others=%d", others), func(b *testing.B) {
			r := newZonedRegion(b, 3, 1)
			p := r.open(Config{})
			for i := range others {
				must(b, p.Apply(b.Context(), Balancer{
					Name: fmt.Sprintf("other/%d", i), Frontend: netip.AddrFrom4([4]byte{20, 0, 1, byte(i)}),
					Ports: []Port{{Protocol: TCP, Port: 80}, {Protocol: TCP, Port: 443}},
				}, r.backends()))
			}
			for i := 0; b.Loop(); i++ {
				balancer := web(Probe{})
				balancer.Ports[0].Port = uint16(8000 + i%2)
				must(b, p.Apply(b.Context(), balancer, r.backends()))
			}
		})
	}
}
