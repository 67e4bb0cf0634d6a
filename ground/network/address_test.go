package network

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
)

// No two things of the whole plan share an address.
func TestPlanHasNoOverlap(t *testing.T) {
	type named struct {
		name   string
		prefix netip.Prefix
	}
	var all []named
	for i := range MaxRegions {
		p := Plan{Index: i}
		if err := p.Validate(MaxZones, MaxNodes); err != nil {
			t.Fatal(err)
		}
		for _, n := range []named{
			{"vnet", p.VNet()}, {"pods", p.Pods()}, {"services", p.Services()}, {"frontends", p.Frontends()},
		} {
			all = append(all, named{n.name, n.prefix})
		}
		world, router := p.backbone()
		if world.Masked() != router.Masked() || world.Addr() == router.Addr() {
			t.Errorf("region %d: the backbone joins %s and %s", i, world, router)
		}
		all = append(all, named{"backbone", world.Masked()})
	}
	world, clients := outsideCable()
	if world.Masked() != clients.Masked() || world.Addr() == clients.Addr() {
		t.Errorf("the cable outside joins %s and %s", world, clients)
	}
	all = append(all, named{"outside", world.Masked()}, named{"clients", Clients()})
	for i, a := range all {
		if !a.prefix.IsValid() || a.prefix != a.prefix.Masked() {
			t.Errorf("%s %s is no network", a.name, a.prefix)
		}
		if a.prefix.Contains(Magic) {
			t.Errorf("%s %s holds the platform's address", a.name, a.prefix)
		}
		for _, b := range all[i+1:] {
			if a.prefix.Overlaps(b.prefix) {
				t.Errorf("%s %s overlaps %s %s", a.name, a.prefix, b.name, b.prefix)
			}
		}
	}
}

func TestVNetHasNoOverlap(t *testing.T) {
	for _, p := range []Plan{{0}, {MaxRegions - 1}} {
		subnets := []netip.Prefix{p.Platform(), p.InternalFrontends()}
		for z := 1; z <= MaxZones; z++ {
			router, zone := p.uplink(z)
			if router.Masked() != zone.Masked() || router.Addr() == zone.Addr() {
				t.Errorf("zone %d: the uplink joins %s and %s", z, router, zone)
			}
			subnets = append(subnets, p.Zone(z), router.Masked())
			for _, n := range []int{1, MaxNodes} {
				if !p.Zone(z).Contains(p.Node(z, n)) || p.Node(z, n) == gateway(p.Zone(z)).Addr() {
					t.Errorf("node %d of zone %d is %s", n, z, p.Node(z, n))
				}
			}
		}
		for i, a := range subnets {
			if !p.VNet().Contains(a.Addr()) {
				t.Errorf("%s is outside %s", a, p.VNet())
			}
			for _, b := range subnets[i+1:] {
				if a.Overlaps(b) {
					t.Errorf("%s overlaps %s", a, b)
				}
			}
		}
		for _, a := range []netip.Addr{p.ControlPlane(), p.Registry(), p.Managed(0)} {
			if !p.Platform().Contains(a) {
				t.Errorf("%s is outside %s", a, p.Platform())
			}
		}
		if p.ControlPlane() == p.Managed(0) || p.Registry() == p.ControlPlane() {
			t.Error("two services share an address")
		}
		for _, a := range []netip.Addr{p.APIService(), p.DNSService()} {
			if !p.Services().Contains(a) {
				t.Errorf("%s is outside %s", a, p.Services())
			}
		}
	}
}

func TestMACsDiffer(t *testing.T) {
	seen := map[string]bool{}
	for i := range 3 {
		for kind := byte(1); kind <= 7; kind++ {
			for z := range 3 {
				for _, n := range []int{1, 2, MaxNodes, 256, 257} {
					mac := (Plan{Index: i}).mac(kind, z, n)
					if len(mac) != 6 || mac[0]&1 != 0 || mac[0]&2 == 0 {
						t.Fatalf("%x is not a locally administered address of one device", mac)
					}
					if seen[string(mac)] {
						t.Fatalf("%x is given twice", mac)
					}
					seen[string(mac)] = true
				}
			}
		}
	}
	if !bytes.Equal((Plan{}).mac(1, 2, 3), (Plan{}).mac(1, 2, 3)) {
		t.Error("the same thing has two")
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		index, zones, nodes int
		want                string
	}{
		{0, 3, 1, ""},
		{MaxRegions - 1, MaxZones, MaxNodes, ""},
		{MaxRegions, 1, 1, "ends at 40 regions"},
		{0, 0, 1, "a region has 1 to 9"},
		{0, MaxZones + 1, 1, "a region has 1 to 9"},
		{0, 1, 0, "a zone has 1 to 200"},
		{0, 1, MaxNodes + 1, "a zone has 1 to 200"},
	} {
		err := Plan{Index: test.index}.Validate(test.zones, test.nodes)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v", test, err)
		}
	}
}
