package main

import (
	"testing"

	platform "github.com/nines-ha/nines/ground/argo"
	"github.com/nines-ha/nines/ground/mesh"
	"github.com/nines-ha/nines/render/argo"
	"github.com/nines-ha/nines/render/istio"
)

// What is rendered is for the mesh and the Argo CD that the ground installs: both
// know the names, and neither knows the other.
func TestOnePlatform(t *testing.T) {
	for ground, rendered := range map[string]string{
		mesh.Revision: istio.Revision, mesh.System: istio.SystemNamespace, mesh.SharedConfig: istio.SharedConfigMap,
		mesh.IngressNamespace: istio.IngressNamespace, mesh.Ingress: istio.Ingress, mesh.TrustDomain: istio.TrustDomain,
		// and of what Argo CD is told.
		platform.Namespace: argo.Namespace, platform.RegionLabel: argo.RegionLabel, platform.OrderLabel: argo.OrderLabel,
	} {
		if ground != rendered {
			t.Errorf("the ground calls %q what is rendered as %q", ground, rendered)
		}
	}
}
