package balancer

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestAStorm changes everything at once from many sides, while a backend flaps,
// and then looks whether the kernel has what it was last told.
func TestAStorm(t *testing.T) {
	r := newZonedRegion(t, 2, 2)
	p := r.open(Config{Settle: 10 * time.Millisecond})
	probe := healthz()
	probe.Interval = 20 * time.Millisecond
	must(t, p.Apply(t.Context(), web(probe), r.backends()))
	stop := make(chan struct{})
	var flapping, applying sync.WaitGroup
	flapping.Go(func() {
		for status := http.StatusOK; ; status = http.StatusOK + http.StatusServiceUnavailable - status {
			select {
			case <-stop:
				r.machines[0].setHealth(http.StatusOK)
				return
			case <-time.After(30 * time.Millisecond):
				r.machines[0].setHealth(status)
			}
		}
	})
	for worker := range 4 {
		applying.Go(func() {
			b := Balancer{Name: fmt.Sprintf("storm/%d", worker), Frontend: netip.AddrFrom4([4]byte{20, 0, 1, byte(worker)})}
			b.Ports = []Port{{Protocol: TCP, Port: 443, Probe: probe}, {Protocol: UDP, Port: 443}}
			for i := range 15 {
				if err := p.Apply(t.Context(), b, r.backends()[:1+i%4]); err != nil {
					t.Error(err)
				}
				p.Status()
			}
			if err := p.Remove(t.Context(), b.Name); err != nil {
				t.Error(err)
			}
		})
	}
	applying.Wait()
	close(stop)
	flapping.Wait()
	eventually(t, "all backends up", allAre(p, Up))
	if n := len(p.Status()); n != 1 {
		t.Errorf("%d balancers are left, not 1", n)
	}
	if n := strings.Count(r.run("ip", "rule"), "fwmark"); n != 4 {
		t.Errorf("%d rules are left, not 4", n)
	}
	if chains := r.run("nft", "list", "chains", "ip"); strings.Contains(chains, "rule1") {
		t.Errorf("chains are left over:\n%s", chains)
	}
	_, err := r.ask(patience)
	must(t, err)
}

func TestAFlowSurvivesThatOthersComeAndGo(t *testing.T) {
	r := newRegion(t, 3)
	p := r.open(Config{})
	must(t, p.Apply(t.Context(), web(Probe{}), r.backends()))
	flow, err := r.dial(patience)
	must(t, err)
	defer flow.Close()
	who, err := flow.ask(patience)
	must(t, err)
	var rest []Backend
	for _, b := range r.backends() {
		if b.Node != who {
			rest = append(rest, b)
		}
	}
	must(t, p.Apply(t.Context(), Balancer{Name: "a/first", Frontend: frontend, Ports: []Port{{Protocol: TCP, Port: 8443}}}, rest))
	must(t, p.Apply(t.Context(), web(Probe{}), append(rest[:1:1], Backend{Node: who, Address: address0(r, who)})))
	must(t, p.Remove(t.Context(), "a/first"))
	if again, err := flow.ask(patience); err != nil || again != who {
		t.Errorf("the flow of %s went to %q: %v", who, again, err)
	}
	must(t, p.Apply(t.Context(), web(Probe{}), rest))
	if _, err := flow.ask(short); !isTimeout(err) {
		t.Errorf("the flow of a backend that left got %v, not silence", err)
	}
}

func address0(r *region, node string) netip.Addr {
	for _, m := range r.machines {
		if m.Node == node {
			return m.Address
		}
	}
	return netip.Addr{}
}

func TestRoutesComeBackWithTheLink(t *testing.T) {
	r := newRegion(t, 1)
	p := r.open(Config{})
	must(t, p.Apply(t.Context(), web(Probe{}), r.backends()))
	_, err := r.ask(patience)
	must(t, err)
	h := at(t, r.router)
	bridge, err := h.LinkByName("br0")
	must(t, err)
	must(t, h.LinkSetDown(bridge))
	if _, err := r.ask(short); !isTimeout(err) {
		t.Errorf("without the link a flow got %v, not silence", err)
	}
	must(t, h.LinkSetUp(bridge))
	eventually(t, "flows pass again", func() bool { _, err := r.ask(short); return err == nil })
}

func TestApplyRefuses(t *testing.T) {
	r := newRegion(t, 1)
	p := r.open(Config{})
	must(t, p.Apply(t.Context(), web(Probe{}), r.backends()))
	tcp := []Port{{Protocol: TCP, Port: 80}}
	for name, test := range map[string]struct {
		b        Balancer
		backends []Backend
		want     string
	}{
		"no name":            {Balancer{Frontend: frontend}, nil, "no name"},
		"IPv6":               {Balancer{Name: "b", Frontend: netip.MustParseAddr("::1")}, nil, "IPv4"},
		"another's port":     {Balancer{Name: "b", Frontend: frontend, Ports: tcp}, nil, `belongs to "fleet/vehicle"`},
		"a port twice":       {Balancer{Name: "b", Frontend: frontend, Ports: append(tcp, tcp...)}, nil, "twice"},
		"a protocol":         {Balancer{Name: "b", Frontend: frontend, Ports: []Port{{Protocol: "sctp", Port: 1}}}, nil, "sctp"},
		"an affinity":        {Balancer{Name: "b", Frontend: frontend, Affinity: "cookie"}, nil, "cookie"},
		"a probe of nowhere": {Balancer{Name: "b", Frontend: frontend, Ports: []Port{{Protocol: TCP, Port: 1, Probe: Probe{Protocol: TCP, Interval: 1, Threshold: 1}}}}, nil, "no port"},
		"an unknown zone":    {Balancer{Name: "b", Frontend: frontend}, []Backend{{Node: "n", Address: netip.MustParseAddr("10.0.0.9"), Zone: "mars-1"}}, "mars-1"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := p.Apply(t.Context(), test.b, test.backends); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v; want %s", err, test.want)
			}
		})
	}
	_, err := r.ask(patience)
	must(t, err)
	if n := len(p.Status()); n != 1 {
		t.Errorf("%d balancers, not 1", n)
	}
}
