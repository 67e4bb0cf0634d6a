// Package kubernetes renders a described system as Kubernetes manifests, the
// same for the proving ground and for AKS. Call Render; its files are in the
// order in which they can be applied. It is pure: same system, same bytes. It
// knows Secrets by name only and renders none. What of a mesh is in pods and the
// namespace it renders if asked to; the mesh's own rules are render/istio's.
package kubernetes

import (
	"fmt"
	"path"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nines-ha/nines/render"
	"github.com/nines-ha/nines/render/istio"
	"github.com/nines-ha/nines/system"
)

// Options say what is rendered besides what the description says.
type Options struct {
	// Mesh has sidecars injected, and makes a public service one that is
	// reached through the mesh's gateway rather than by a load balancer of
	// its own. The rest of the mesh comes from render/istio.
	Mesh bool
}

// Render returns the manifests of one region. images holds the reference, by
// digest, of each service that is built from source; for a service that names
// an image it may hold the digest that the image has been found at.
func Render(sys *system.System, region string, images map[string]string, options Options) ([]render.File, error) {
	home, ok := sys.Region(region)
	if !ok {
		return nil, fmt.Errorf("render %s: there is no region %q in it; name one of its regions", sys.Name, region)
	}
	files := render.NewSet(path.Join("apps", string(sys.Name)))
	files.Add("namespace.yaml", namespace(sys, options.Mesh))
	for _, service := range sys.Services {
		image := images[string(service.Name)]
		if image == "" {
			image = string(service.Image)
		}
		if image == "" {
			return nil, fmt.Errorf("render %s: service %s has no image yet; build it from %s first", sys.Name, service.Name, service.Source)
		}
		if options.Mesh {
			service.Drain = service.Drain.InMesh()
		}
		w := workload{system: sys, service: service, image: image, variables: variables(sys, service), mesh: options.Mesh, zones: home.Zones}
		add := func(name string, object any) {
			files.Add(path.Join(string(service.Name), name), object)
		}
		add("serviceaccount.yaml", w.serviceAccount())
		if len(w.variables) > 0 {
			add("configmap.yaml", w.configMap())
		}
		add("service.yaml", w.endpoint())
		if w.canary() {
			add("service-canary.yaml", w.canaryService())
			add("rollout.yaml", w.rollout())
		} else {
			add("deployment.yaml", w.deployment())
		}
		if service.Scale.Replicas.Min > 1 {
			add("poddisruptionbudget.yaml", w.budget())
		}
		if service.Scale.Replicas.Scales() {
			add("horizontalpodautoscaler.yaml", w.autoscaler())
		}
	}
	list, err := files.Files()
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", sys.Name, err)
	}
	return list, nil
}

// A workload is one service with what its manifests are made from.
type workload struct {
	system    *system.System
	service   system.Service
	image     string
	variables map[string]string
	mesh      bool
	zones     int
}

// canary says whether a new version takes over step by step, which only a mesh can.
func (w workload) canary() bool { return w.mesh && w.service.Canary.On() }

func namespace(sys *system.System, mesh bool) *corev1.Namespace {
	labels := map[string]string{"app.kubernetes.io/part-of": string(sys.Name), "app.kubernetes.io/managed-by": "nines"}
	// The revision's label, not istio-injection: the add-on skips that one.
	if mesh {
		labels[istio.RevisionLabel] = istio.Revision
	}
	for _, mode := range []string{"enforce", "audit", "warn"} {
		labels["pod-security.kubernetes.io/"+mode] = "restricted"
	}
	return &corev1.Namespace{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: string(sys.Name), Labels: labels},
	}
}

// meta is what every object of the service has.
func (w workload) meta() metav1.ObjectMeta {
	labels := w.selector()
	labels["app.kubernetes.io/managed-by"] = "nines"
	return metav1.ObjectMeta{Name: string(w.service.Name), Namespace: string(w.system.Name), Labels: labels}
}

// selector never changes: a Deployment's cannot.
func (w workload) selector() map[string]string {
	return map[string]string{
		"app.kubernetes.io/name":    string(w.service.Name),
		"app.kubernetes.io/part-of": string(w.system.Name),
	}
}

func (w workload) serviceAccount() *corev1.ServiceAccount {
	return &corev1.ServiceAccount{
		TypeMeta:                     metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta:                   w.meta(),
		AutomountServiceAccountToken: new(false),
	}
}
