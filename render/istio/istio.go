// Package istio renders what a described system asks of a mesh: who may call
// whom and what, how long a call may take, what is tried again, how much is let
// through, and what leaves the system. Call Render; its files are in the order
// in which they can be applied, after those of render/kubernetes. It is pure:
// same system, same bytes.
//
// It renders only what the user of AKS's Istio add-on owns: neither a control
// plane nor a gateway's pods, no kind and no setting that the add-on refuses.
// The constants are the add-on's names for what it installs.
package istio

import (
	"fmt"
	"path"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nines-ha/nines/render"
	"github.com/nines-ha/nines/system"
)

// What the add-on calls its revision and its gateway. The service account of
// the gateway has the name of its Service.
const (
	Revision      = "asm-1-31"
	RevisionLabel = "istio.io/rev" // on a namespace: inject sidecars of Revision

	SystemNamespace = "aks-istio-system" // istiod, and what holds for the whole mesh
	SharedConfigMap = "istio-shared-configmap-" + Revision

	IngressNamespace = "aks-istio-ingress"
	Ingress          = "aks-istio-ingressgateway-external" // Service, service account, and label "istio" of the pods

	TrustDomain = "cluster.local"
)

// servicePort is the port on which services find each other.
const servicePort = 80

// Options say what the description does not.
type Options struct {
	// StoreHosts are the host names of stores, by the store's name, as they
	// are in the file "host" of the store's Secret. StoreHost, if one has none.
	StoreHosts map[string]string
}

// StoreHost is the host name of a managed PostgreSQL whose server is called
// SYSTEM-STORE.
func StoreHost(sys *system.System, store system.Name) string {
	return fmt.Sprintf("%s-%s.postgres.database.azure.com", sys.Name, store)
}

// Render returns the mesh's rules for one region: below platform/istio what
// holds for the whole mesh, below apps/SYSTEM what belongs to the system.
func Render(sys *system.System, region string, options Options) ([]render.File, error) {
	home, ok := sys.Region(region)
	if !ok {
		return nil, fmt.Errorf("render the mesh of %s: there is no region %q in it; name one of its regions", sys.Name, region)
	}
	m := mesh{system: sys, zones: home.Zones, options: options}
	files := render.NewSet("")
	if err := m.platform(files); err != nil {
		return nil, fmt.Errorf("render the mesh of %s: %w", sys.Name, err)
	}
	m.add(files)
	list, err := files.Files()
	if err != nil {
		return nil, fmt.Errorf("render the mesh of %s: %w", sys.Name, err)
	}
	return list, nil
}

// SharedConfig is of what Render returns the configuration of the mesh itself. It is
// to be there before the first proxy starts: which statistics a proxy keeps it
// learns at its start, and never again.
func SharedConfig(sys *system.System) ([]render.File, error) {
	files := render.NewSet("")
	if err := (mesh{system: sys}).shared(files); err != nil {
		return nil, fmt.Errorf("render the mesh of %s: %w", sys.Name, err)
	}
	return files.Files()
}

// mesh is a system with what its rules are made from.
type mesh struct {
	system  *system.System
	zones   int
	options Options
}

// add renders in an order in which nothing is named before it is there: a
// destination comes before the routes to it.
func (m mesh) add(files *render.Set) {
	root := path.Join("apps", string(m.system.Name))
	common := func(name string, object any) { files.Add(path.Join(root, "mesh", name), object) }
	common("peerauthentication.yaml", m.strict(m.namespace(), "default"))
	common("authorizationpolicy.yaml", m.denyAll())
	for _, store := range m.usedStores() {
		common("store-"+string(store.Name)+".yaml", m.storeEntry(store))
		common("store-"+string(store.Name)+"-policy.yaml", m.storeDestination(store))
	}
	if gateway := m.gateway(); gateway != nil {
		common("gateway.yaml", gateway)
	}
	add := func(service system.Service, name string, object any) {
		files.Add(path.Join(root, string(service.Name), name), object)
	}
	for _, service := range m.system.Services {
		add(service, "sidecar.yaml", m.sidecar(service))
		add(service, "authorizationpolicy.yaml", m.allow(service))
		add(service, "destinationrule.yaml", m.destination(service))
	}
	for _, service := range m.system.Services {
		add(service, "virtualservice.yaml", m.inside(service))
		if service.Expose != system.Hidden {
			add(service, "virtualservice-public.yaml", m.outside(service))
		}
	}
}

func (m mesh) namespace() string {
	return string(m.system.Name)
}

// host is the full name of a service, which means the same wherever it is read.
func (m mesh) host(service system.Name) string {
	return fmt.Sprintf("%s.%s.svc.cluster.local", service, m.namespace())
}

// meta is that of an object which belongs to one service.
func (m mesh) meta(service system.Service) metav1.ObjectMeta {
	labels := m.selector(service)
	labels["app.kubernetes.io/managed-by"] = "nines"
	return metav1.ObjectMeta{Name: string(service.Name), Namespace: m.namespace(), Labels: labels}
}

// selector is what the pods of a service have.
func (m mesh) selector(service system.Service) map[string]string {
	return map[string]string{
		"app.kubernetes.io/name":    string(service.Name),
		"app.kubernetes.io/part-of": m.namespace(),
	}
}

// common is the meta of an object that belongs to no service.
func (m mesh) common(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{
		"app.kubernetes.io/part-of":    m.namespace(),
		"app.kubernetes.io/managed-by": "nines",
	}}
}

func typed(group, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: group + ".istio.io/v1", Kind: kind}
}
