package balancer

import (
	"net"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestZonesAreReachedThroughTheirRouters(t *testing.T) {
	r := newZonedRegion(t, 2, 2)
	p := r.open(Config{})
	must(t, p.Apply(t.Context(), web(healthz()), r.backends()))
	eventually(t, "all backends up", allAre(p, Up))
	answers := map[string]int{}
	for range 100 {
		who, err := r.ask(patience)
		must(t, err)
		answers[who]++
	}
	for _, m := range r.machines {
		if answers[m.Node] < 8 {
			t.Errorf("%s took %d of 100 flows", m.Node, answers[m.Node])
		}
	}
}

func TestACutZoneIsSilentUntilProbesSaySo(t *testing.T) {
	r := newZonedRegion(t, 2, 1)
	p := r.open(Config{})
	must(t, p.Apply(t.Context(), web(healthz()), r.backends()))
	eventually(t, "all backends up", allAre(p, Up))
	flows := map[string]*flow{}
	for len(flows) < 2 {
		f, err := r.dial(patience)
		must(t, err)
		defer f.Close()
		who, err := f.ask(patience)
		must(t, err)
		flows[who] = f
	}
	lost := r.machines[0]
	r.runIn(lost.behind, "nft", "add table inet partition; add chain inet partition forward { type filter hook forward priority raw; policy drop; }")
	eventually(t, "the machine of the cut zone down", func() bool { return states(p)[lost.Node] == Down })
	for range 20 {
		who, err := r.ask(patience)
		must(t, err)
		if who == lost.Node {
			t.Fatal("a new flow reached a cut zone")
		}
	}
	if _, err := flows[lost.Node].ask(short); !isTimeout(err) {
		t.Errorf("the flow into the cut zone got %v, not silence", err)
	}
	_, err := flows[r.machines[1].Node].ask(patience)
	must(t, err)

	r.runIn(lost.behind, "nft", "delete table inet partition")
	eventually(t, "the zone back", allAre(p, Up))
	if who, err := flows[lost.Node].ask(patience); err != nil || who != lost.Node {
		t.Errorf("after the cut the flow went to %q: %v", who, err)
	}
}

func TestAZonalFrontendIsLostWithItsZone(t *testing.T) {
	r := newZonedRegion(t, 2, 1)
	p := r.open(Config{})
	b := web(Probe{})
	b.Zone = "region-1"
	must(t, p.Apply(t.Context(), b, r.backends()))
	_, err := r.ask(patience)
	must(t, err)
	must(t, p.Lose(t.Context(), "region-2"))
	_, err = r.ask(patience)
	must(t, err)
	must(t, p.Lose(t.Context(), "region-1"))
	if _, err := r.ask(short); !isTimeout(err) {
		t.Errorf("the frontend of a lost zone gave %v, not silence", err)
	}
	if !p.Status()[0].Silent {
		t.Error("status does not call it silent")
	}
	must(t, p.Restore(t.Context(), "region-1"))
	_, err = r.ask(patience)
	must(t, err)
}

func TestNothingIsLeftBehind(t *testing.T) {
	r := newZonedRegion(t, 2, 2)
	everything := func() string {
		var all strings.Builder
		sets := []string{}
		for _, zone := range []string{"region-1", "region-2"} {
			for _, command := range [][]string{{"nft", "list", "ruleset"}, {"ip", "rule"}, {"ip", "route", "show", "table", "all", "type", "unicast"}, {"ip", "neigh", "show", "nud", "permanent"}} {
				sets = append(sets, r.runIn(r.zones[zone].Router, command...), r.run(command...))
			}
		}
		for _, s := range sets {
			all.WriteString(s)
		}
		return all.String()
	}
	before := everything()
	p := r.open(Config{})
	must(t, p.Apply(t.Context(), web(healthz()), r.backends()))
	eventually(t, "all backends up", allAre(p, Up))
	if everything() == before {
		t.Fatal("the test sees nothing of a balancer")
	}
	must(t, p.Apply(t.Context(), web(healthz()), r.backends()[:1]))
	if rules := r.run("ip", "rule"); strings.Count(rules, "fwmark") != 1 {
		t.Errorf("after the pool shrank to one backend the rules are\n%s", rules)
	}
	must(t, p.Remove(t.Context(), "fleet/vehicle"))
	if rules := r.run("ip", "rule"); strings.Contains(rules, "fwmark") {
		t.Errorf("after removal the rules are\n%s", rules)
	}
	must(t, p.Close())
	if after := everything(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestAZoneComesBackWithItsLink(t *testing.T) {
	r := newZonedRegion(t, 1, 1)
	p := r.open(Config{})
	must(t, p.Apply(t.Context(), web(Probe{}), r.backends()))
	_, err := r.ask(patience)
	must(t, err)
	h := at(t, r.router)
	link, err := h.LinkByName("zone1")
	must(t, err)
	must(t, h.LinkSetDown(link))
	must(t, h.LinkSetUp(link)) // too quick to be seen down
	must(t, h.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: net.IPv4(10, 0, 1, 0), Mask: net.CIDRMask(24, 32)}, Gw: net.IPv4(10, 1, 1, 2)}))
	eventually(t, "flows pass again", func() bool { _, err := r.ask(short); return err == nil })
}
