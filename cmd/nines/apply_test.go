package main

import (
	"strings"
	"testing"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/ground/world"
	"github.com/nines-ha/nines/system"
)

func TestSameGround(t *testing.T) {
	parse := func(text string) *system.System {
		sys, err := system.Parse([]byte(text), "nines.yaml")
		if err != nil {
			t.Fatal(err)
		}
		return sys
	}
	const services = "services: {hello: {image: ghcr.io/example/hello:1.0.0}}\n"
	status := ground.Status{Name: "shop"}
	status.Regions = []world.RegionStatus{{Name: "westeurope", Nodes: []world.NodeStatus{{Zone: 1}, {Zone: 2}}}}
	status.Stores = []world.StoreStatus{{Name: "orders"}}
	for _, c := range []struct{ text, want string }{
		{"name: shop\nregions: {westeurope: {zones: 2}}\nstores: {orders: {postgres: 15}}\n" + services, ""},
		{"name: shop\nregions: {westeurope: {zones: 3}}\nstores: {orders: {postgres: 15}}\n" + services, "regions of shop"},
		{"name: shop\nregions: {westeurope: {zones: 2, nodes: 2}}\nstores: {orders: {postgres: 15}}\n" + services, "regions of shop"},
		{"name: shop\nregions: {westeurope: {zones: 2}}\n" + services, "stores of shop"},
	} {
		err := sameGround(parse(c.text), status)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.text, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.text, err, c.want)
		}
	}
}
