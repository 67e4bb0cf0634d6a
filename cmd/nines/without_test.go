package main

import (
	"testing"

	"github.com/nines-ha/nines/ground/mesh"
	"github.com/nines-ha/nines/render/istio"
)

// What is rendered is for the mesh that the ground installs: both know the names
// of AKS's add-on, and neither knows the other.
func TestOneAddOn(t *testing.T) {
	for ground, rendered := range map[string]string{
		mesh.Revision: istio.Revision, mesh.System: istio.SystemNamespace, mesh.SharedConfig: istio.SharedConfigMap,
		mesh.IngressNamespace: istio.IngressNamespace, mesh.Ingress: istio.Ingress, mesh.TrustDomain: istio.TrustDomain,
	} {
		if ground != rendered {
			t.Errorf("the ground calls %q what is rendered as %q", ground, rendered)
		}
	}
}
