package balancer

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const (
	fast  = 100 * time.Millisecond // a probe interval that a test can wait for
	short = 700 * time.Millisecond // a client's patience with a black hole
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func web(probe Probe) Balancer {
	return Balancer{Name: "fleet/vehicle", Frontend: frontend, Ports: []Port{{Protocol: TCP, Port: port, Probe: probe}}}
}

func healthz() Probe {
	return Probe{Protocol: HTTP, Port: probePort, Path: "/healthz", Interval: fast, Threshold: 2}
}

func states(p *Plane) map[string]State {
	all := map[string]State{}
	for _, s := range p.Status() {
		for _, b := range s.Backends {
			all[b.Node] = b.State
		}
	}
	return all
}

func allAre(p *Plane, state State) func() bool {
	return func() bool {
		for _, s := range states(p) {
			if s != state {
				return false
			}
		}
		return true
	}
}

func TestFlowsSpreadOverBackends(t *testing.T) {
	r := newRegion(t, 3)
	p := r.open(Config{})
	must(t, p.Apply(t.Context(), web(healthz()), r.backends()))
	eventually(t, "all backends up", allAre(p, Up))
	const flows = 150
	answers := map[string]int{}
	for range flows {
		who, err := r.ask(patience)
		must(t, err)
		answers[who]++
	}
	for _, m := range r.machines {
		if n := answers[m.Node]; n < flows/3/2 || n > flows/3*2 {
			t.Errorf("%s took %d of %d flows", m.Node, n, flows)
		}
	}
}

func TestSourceAffinityKeepsAClientOnOneBackend(t *testing.T) {
	r := newRegion(t, 3)
	p := r.open(Config{})
	b := web(Probe{})
	b.Affinity = SourceIP
	must(t, p.Apply(t.Context(), b, r.backends()))
	first, err := r.ask(patience)
	must(t, err)
	for range 30 {
		who, err := r.ask(patience)
		must(t, err)
		if who != first {
			t.Fatalf("%s answered, then %s", first, who)
		}
	}
}

func TestEstablishedFlowsOutliveAProbe(t *testing.T) {
	r := newRegion(t, 3)
	p := r.open(Config{})
	must(t, p.Apply(t.Context(), web(healthz()), r.backends()))
	eventually(t, "all backends up", allAre(p, Up))
	flow, err := r.dial(patience)
	must(t, err)
	defer flow.Close()
	who, err := flow.ask(patience)
	must(t, err)

	for _, m := range r.machines {
		if m.Node == who {
			m.setHealth(http.StatusServiceUnavailable)
		}
	}
	eventually(t, who+" down", func() bool { return states(p)[who] == Down })
	if again, err := flow.ask(patience); err != nil || again != who {
		t.Errorf("the flow of %s went to %q: %v", who, again, err)
	}
	for range 40 {
		other, err := r.ask(patience)
		must(t, err)
		if other == who {
			t.Fatalf("a new flow went to %s, which is down", who)
		}
	}

	for _, m := range r.machines {
		m.setHealth(http.StatusInternalServerError)
	}
	eventually(t, "all backends down", allAre(p, Down))
	if again, err := flow.ask(patience); err != nil || again != who {
		t.Errorf("with all down the flow of %s went to %q: %v", who, again, err)
	}
	if _, err := r.ask(short); !isTimeout(err) {
		t.Errorf("with all down a new flow got %v, not silence", err)
	}
	for _, m := range r.machines {
		m.setHealth(http.StatusOK)
	}
	eventually(t, "all backends up again", allAre(p, Up))
	_, err = r.ask(patience)
	must(t, err)
}

func TestAnOnlyBackendTakesItsFlowsWithIt(t *testing.T) {
	r := newRegion(t, 1)
	p := r.open(Config{})
	must(t, p.Apply(t.Context(), web(healthz()), r.backends()))
	eventually(t, "the backend up", allAre(p, Up))
	flow, err := r.dial(patience)
	must(t, err)
	defer flow.Close()
	_, err = flow.ask(patience)
	must(t, err)
	r.machines[0].setHealth(http.StatusNotFound)
	eventually(t, "the backend down", allAre(p, Down))
	if _, err := flow.ask(short); !isTimeout(err) {
		t.Errorf("the flow got %v, not silence", err)
	}
}

func TestADeadBackendIsSilent(t *testing.T) {
	r := newRegion(t, 1)
	p := r.open(Config{})
	must(t, p.Apply(t.Context(), web(Probe{}), r.backends())) // no probe: it counts as healthy
	_, err := r.ask(patience)
	must(t, err)
	r.cut(r.machines[0])
	r.run("ip", "neigh", "flush", "all")
	// The kernel gives up on a neighbour after 3 s and would then say "no route to host".
	if _, err := r.ask(4500 * time.Millisecond); !isTimeout(err) {
		t.Errorf("a flow to a dead backend got %v, not silence", err)
	}
}

func TestUDPMovesWithTheProbes(t *testing.T) {
	r := newRegion(t, 2)
	p := r.open(Config{})
	b := Balancer{Name: "dns", Frontend: frontend, Ports: []Port{{Protocol: UDP, Port: port, Probe: healthz()}}}
	must(t, p.Apply(t.Context(), b, r.backends()))
	eventually(t, "all backends up", allAre(p, Up))
	conn, err := r.client.Dial(t.Context(), "udp", netip.AddrPortFrom(frontend, port).String())
	must(t, err)
	defer conn.Close()
	ask := func() string {
		buffer := make([]byte, 64)
		must(t, conn.SetDeadline(time.Now().Add(patience)))
		_, err := conn.Write([]byte("who"))
		must(t, err)
		n, err := conn.Read(buffer)
		must(t, err)
		return string(buffer[:n])
	}
	who := ask()
	for _, m := range r.machines {
		if m.Node == who {
			m.setHealth(http.StatusBadGateway)
		}
	}
	eventually(t, who+" down", func() bool { return states(p)[who] == Down })
	if again := ask(); again == who {
		t.Errorf("the datagram still went to %s", who)
	}
}

func TestIdleFlowsAreForgotten(t *testing.T) {
	for _, reset := range []bool{false, true} {
		t.Run(map[bool]string{false: "silently", true: "with a reset"}[reset], func(t *testing.T) {
			r := newRegion(t, 2)
			p := r.open(Config{})
			b := web(Probe{})
			b.Idle, b.Reset = time.Second, reset
			must(t, p.Apply(t.Context(), b, r.backends()))
			flow, err := r.dial(patience)
			must(t, err)
			defer flow.Close()
			_, err = flow.ask(patience)
			must(t, err)
			eventually(t, "the flow forgotten", func() bool {
				return !strings.Contains(r.run("nft", "list", "map", "ip", "nines_balancer", "flows"), "expires")
			})
			_, err = flow.ask(short)
			if reset && !errors.Is(err, syscall.ECONNRESET) || !reset && !isTimeout(err) {
				t.Errorf("after its idle time the flow got %v", err)
			}
		})
	}
}

func TestTheThresholdCountsBothWays(t *testing.T) {
	p := &prober{target: target{probe: Probe{Threshold: 2}}, state: Unknown}
	fail := errors.New("no answer")
	for i, step := range []struct {
		answer State
		want   State
	}{
		{Down, Unknown}, {Up, Up}, {Down, Up}, {Up, Up}, {Down, Up}, {Down, Down}, {Up, Down}, {Down, Down}, {Up, Down}, {Up, Up},
	} {
		var err error
		if step.answer == Down {
			err = fail
		}
		p.observe(step.answer, err, time.Now())
		if p.state != step.want {
			t.Fatalf("step %d: after %s the state is %s, not %s", i, step.answer, p.state, step.want)
		}
	}
}
