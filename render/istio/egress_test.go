package istio_test

import (
	"testing"

	networking "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/nines-ha/nines/render/istio"
)

// One port leads to one store; a proxy that knows two must not send what is
// meant for one to the other.
func TestStores(t *testing.T) {
	sys := parseText(t, `name: fleet
stores: {telemetry: {postgres: 15}, state: {postgres: 15}, archive: {postgres: 15}, unused: {postgres: 15}}
services:
  both: {source: ./both, stores: [telemetry, state]}
  one: {source: ./one, stores: [archive]}
`)
	files, err := istio.Render(sys, "westeurope", istio.Options{StoreHosts: map[string]string{"archive": "db.example"}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][2]string{
		"apps/fleet/mesh/store-telemetry.yaml": {"fleet-telemetry.postgres.database.azure.com", "NONE"},
		"apps/fleet/mesh/store-state.yaml":     {"fleet-state.postgres.database.azure.com", "NONE"},
		"apps/fleet/mesh/store-archive.yaml":   {"db.example", "DNS"},
	}
	found := 0
	for _, f := range files {
		if f.Path == "apps/fleet/mesh/store-unused.yaml" {
			t.Error("a store that nobody uses can be reached")
		}
		entry, ok := want[f.Path]
		if !ok {
			continue
		}
		found++
		spec := &strict(t, f, &networking.ServiceEntry{}).Spec
		if spec.Hosts[0] != entry[0] || spec.Resolution.String() != entry[1] {
			t.Errorf("%s: %v by %s", f.Path, spec.Hosts, spec.Resolution)
		}
	}
	if found != len(want) {
		t.Errorf("%d of %d stores", found, len(want))
	}
}
