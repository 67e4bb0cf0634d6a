package main

import (
	"testing"

	"github.com/nines-ha/nines/ground/manifest"
)

// Secrets of stores go into each namespace that a ground is given, so it is given no
// other than the system's own.
func TestOneNamespace(t *testing.T) {
	for file, name := range map[string]string{"../../examples/fleet/nines.yaml": "fleet", "../../examples/delivery/nines.yaml": "delivery"} {
		sys, err := readSystem(file)
		if err != nil {
			t.Fatal(err)
		}
		files, err := renderRegions(sys, map[string]string{"vehicle": "registry.local/fleet/vehicle:1.0"}, true)
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, f := range files["westeurope"] {
			objects, err := manifest.Decode(f.Path, f.Body)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objects {
				if o.GetKind() == "Namespace" {
					found = append(found, o.GetName())
				}
			}
		}
		if len(found) != 1 || found[0] != name {
			t.Errorf("%s: namespaces %q, want %s alone", file, found, name)
		}
	}
}
