package world

import (
	"context"
	"slices"
	"time"

	"github.com/nines-ha/nines/ground/manifest"
	"github.com/nines-ha/nines/ground/mesh"
	"github.com/nines-ha/nines/ground/node"
	"github.com/nines-ha/nines/ground/part"
)

// meshParts are the names of what services wait for when there is a mesh: a pod
// that started before would be outside of it.
func (r *region) meshParts() []string {
	if !r.world.spec.Mesh {
		return nil
	}
	return []string{r.part("mesh")}
}

func (r *region) meshPart(workers []string) part.Part {
	return part.Part{
		Name: r.part("mesh"), Needs: append(slices.Clone(workers), "engine/istio"), About: "Istio " + mesh.Revision + " as AKS's add-on installs it, and the ingress gateway",
		Prepare: r.applyMesh, Ready: r.meshReady, Within: 3 * time.Minute,
	}
}

func (r *region) applyMesh(ctx context.Context) error {
	istioctl, err := r.world.engines.Path("istioctl")
	if err != nil {
		return err
	}
	authority, err := mesh.NewAuthority()
	if err != nil {
		return err
	}
	var objects []*manifest.Object
	for _, f := range r.world.spec.MeshFiles {
		list, err := manifest.Decode(f.Path, f.Body)
		if err != nil {
			return err
		}
		objects = append(objects, list...)
	}
	body, err := mesh.Manifests(ctx, mesh.Config{
		Istioctl: istioctl, Zones: r.spec.Zones, CNIConfig: node.CNIConfig, CNIPrograms: node.CNIPrograms, Authority: authority, Shared: mesh.SharedIn(objects),
	})
	if err != nil {
		return err
	}
	own, err := manifest.Decode("mesh", body)
	if err != nil {
		return err
	}
	objects = append(objects, own...) // Apply takes configuration before what runs
	r.mu.Lock()
	r.meshObjects = objects
	r.mu.Unlock()
	return r.mesh.Apply(ctx, objects)
}

// meshReady waits for the gateways too: what they serve comes with the services,
// but not that they run.
func (r *region) meshReady(ctx context.Context) error {
	r.mu.Lock()
	objects := r.meshObjects
	r.mu.Unlock()
	return r.mesh.Ready(ctx, objects)
}
