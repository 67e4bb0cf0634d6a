package world

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/nines-ha/nines/ground/collector"
	"github.com/nines-ha/nines/ground/dns"
	"github.com/nines-ha/nines/ground/kube"
	"github.com/nines-ha/nines/ground/manifest"
	"github.com/nines-ha/nines/ground/network"
	"github.com/nines-ha/nines/ground/node"
	"github.com/nines-ha/nines/ground/part"
	"github.com/nines-ha/nines/ground/registry"
	"github.com/nines-ha/nines/internal/namespace"
	"github.com/nines-ha/nines/internal/pki"
)

// region is one cluster and what the cloud has beside it.
type region struct {
	world   *World
	spec    Region
	plan    network.Plan
	network *network.Region
	cluster *kube.Cluster
	dns     *dns.Server
	cloud   *cloudController
	traces  *collector.Collector
	client  *kubernetes.Clientset // of the ground itself; set when the API server answers

	mu    sync.Mutex
	nodes []*machine

	impaired impaired
	probes   atomic.Int32 // that are under way

	files    chan []File // what the cluster is to hold, from the owner
	platform *manifest.Set
	mesh     *manifest.Set
	apps     *manifest.Set

	platformObjects, meshObjects, appObjects []*manifest.Object // as last applied

	delivery delivery
}

// machine is a node and where it stands.
type machine struct {
	*node.Node
	name    string
	zone, n int
	address netip.Addr
	// instance is its number in the node pool's scale set: a machine made anew
	// under an old name is another one.
	instance int
	cut      bool
	deleted  bool
	since    time.Time // cut and deleted are what they are
}

func newRegion(w *World, index int, spec Region) *region {
	r := &region{world: w, spec: spec, plan: network.Plan{Index: index}, files: make(chan []File, 1), traces: collector.New(collector.Most)}
	dir := filepath.Join(w.spec.Dirs.Run, spec.Name)
	system := w.group.Child("system")
	r.cluster = kube.New(kube.Config{
		Region: spec.Name, Plan: r.plan, Dir: filepath.Join(dir, "kubernetes"), LogDir: w.spec.Dirs.Logs,
		Program: w.engines.Path, Attach: r.attachPlatform, Group: system,
	})
	r.dns = dns.New(dns.Config{
		Region: spec.Name, Dir: filepath.Join(dir, "dns"), LogDir: w.spec.Dirs.Logs,
		Program: w.engines.Path, Router: func() *namespace.Set { return r.network.Router() }, Group: system,
	})
	for z := 1; z <= spec.Zones; z++ {
		for n := 1; n <= spec.Nodes; n++ {
			r.nodes = append(r.nodes, &machine{name: nodeName(spec.Name, z, n), zone: z, n: n, instance: n - 1, address: r.plan.Node(z, n)})
		}
	}
	r.cloud = newCloudController(r)
	return r
}

func (r *region) attachPlatform(addr netip.Addr, set *namespace.Set) error {
	return r.network.AttachPlatform(addr, set)
}

func (r *region) part(name string) string { return kube.PartName(r.spec.Name, name) }

func (r *region) parts() []part.Part {
	parts := r.cluster.Parts("network")
	parts = append(parts, r.dns.Part("network"))
	var stopRegistry func() error
	parts = append(parts,
		part.Part{
			Name: r.part("registry"), Needs: []string{"registry", "network", "node-image"}, About: "the registry at " + r.registryAddress(),
			Prepare: func(context.Context) (err error) {
				stopRegistry, err = r.world.images.serve(r.network.Router(), r.plan.Registry().String())
				return err
			},
			Undo: func(context.Context) error {
				if stopRegistry == nil {
					return nil
				}
				return stopRegistry()
			},
		},
		part.Part{
			Name: r.part("kubeconfig"), Needs: []string{r.part("certificates")}, About: "for administrators, context " + r.spec.Name,
			Prepare: func(context.Context) error { return r.writeKubeconfig() },
		},
		part.Part{
			Name: r.part("access"), Needs: []string{r.part("apiserver")}, About: "access rules and storage classes",
			Prepare: r.applyAccess,
		},
		r.cloud.part(),
		r.collectorPart(),
	)
	workers := []string{r.part("cloud-controller"), r.part("controller-manager"), r.part("scheduler")}
	for _, m := range r.nodes {
		parts = append(parts, part.Part{
			Name:    m.name,
			Needs:   []string{r.part("access"), r.part("registry"), r.part("dns"), "node-image"},
			About:   fmt.Sprintf("node at %s in zone %d", m.address, m.zone),
			Prepare: func(ctx context.Context) error { return r.powerOn(ctx, m) },
			Ready:   func(ctx context.Context) error { return r.nodeReady(ctx, m.name) },
			Undo:    func(ctx context.Context) error { return r.powerOff(ctx, m) },
		})
		workers = append(workers, m.name)
	}
	stores := make([]string, 0, len(r.world.stores))
	for _, s := range r.world.stores {
		stores = append(stores, s.part)
	}
	if r.world.spec.Mesh {
		parts = append(parts, r.meshPart(workers))
	}
	parts = append(parts, r.definitionParts()...)
	if r.delivers() {
		parts = append(parts, r.deliveryParts()...)
	}
	parts = append(parts,
		part.Part{
			Name: r.part("platform"), Needs: workers, About: "CoreDNS and metrics-server", // spreading over zones wants to know them all
			Prepare: r.applyAddons, Ready: r.platformReady, Within: 3 * time.Minute,
		},
		part.Part{
			Name: r.part("apps"), Needs: slices.Concat(workers, stores, []string{r.part("collector")}, r.meshParts()), About: "the system's own files",
			Prepare: r.applyFirst, Within: 3 * time.Hour, // the owner may still be compiling the services
		},
		part.Part{
			Name: r.part("services"), Needs: append(r.world.deliveryPart(), r.part("apps")), About: "the system's pods, and its way in",
			Ready: r.appsReady, Within: 3 * time.Minute,
		},
	)
	return parts
}

func (r *region) registryAddress() string {
	return net.JoinHostPort(r.plan.Registry().String(), registryPort)
}

// writeKubeconfig adds the region's context to the one file of all regions.
func (r *region) writeKubeconfig() error {
	body, err := r.cluster.Kubeconfig(fmt.Sprintf("https://127.0.0.1:%d", r.spec.APIPort), pki.Subject{Name: "nines:administrator", Groups: []string{kube.AdminGroup}})
	if err != nil {
		return err
	}
	config, err := clientcmd.Load(body)
	if err != nil {
		return err
	}
	r.world.kubeconfig.Lock()
	defer r.world.kubeconfig.Unlock()
	path := r.world.spec.Dirs.Kubeconfig()
	if all, err := clientcmd.LoadFromFile(path); err == nil {
		for name := range config.Contexts {
			all.Clusters[name], all.AuthInfos[name], all.Contexts[name] = config.Clusters[name], config.AuthInfos[name], config.Contexts[name]
		}
		config = all
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	config.CurrentContext = r.world.spec.Regions[0].Name
	if _, ok := config.Contexts[config.CurrentContext]; !ok {
		config.CurrentContext = r.spec.Name
	}
	return clientcmd.WriteToFile(*config, path)
}

func (r *region) applyAccess(ctx context.Context) error {
	root, err := r.cluster.Root()
	if err != nil {
		return err
	}
	if r.client, err = kubernetes.NewForConfig(root); err != nil {
		return err
	}
	if r.platform, err = manifest.NewSet("platform", root); err != nil {
		return err
	}
	if r.mesh, err = manifest.NewSet("mesh", root); err != nil {
		return err
	}
	if r.apps, err = manifest.NewSet(r.world.spec.Name, root); err != nil {
		return err
	}
	if err := r.prepareDelivery(root); err != nil {
		return err
	}
	access, err := manifest.NewSet("access", root)
	if err != nil {
		return err
	}
	objects, err := decode(append(r.cloud.manifests(), kube.Access()))
	if err != nil {
		return err
	}
	if err := access.Apply(ctx, objects); err != nil {
		return err
	}
	return r.letDeliver(ctx)
}

func (r *region) applyAddons(ctx context.Context) error {
	files, err := r.cluster.Addons()
	if err != nil {
		return err
	}
	objects, err := decode(files)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.platformObjects = objects
	r.mu.Unlock()
	return r.platform.Apply(ctx, objects)
}

func decode(files [][]byte) ([]*manifest.Object, error) {
	var all []*manifest.Object
	for _, body := range files {
		objects, err := manifest.Decode("platform", body)
		if err != nil {
			return nil, err
		}
		all = append(all, objects...)
	}
	return all, nil
}

// platformReady leaves metrics-server out: it is ready only after two scrapes of
// every node, some twenty seconds, and nothing waits for it.
func (r *region) platformReady(ctx context.Context) error {
	r.mu.Lock()
	objects := slices.DeleteFunc(slices.Clone(r.platformObjects), func(o *manifest.Object) bool { return o.GetName() == kube.MetricsServer })
	r.mu.Unlock()
	return r.platform.Ready(ctx, objects)
}

// receive takes what the owner wants the cluster to hold; only the newest counts.
func (r *region) receive(files []File) {
	for {
		select {
		case r.files <- files:
			return
		default:
		}
		select {
		case <-r.files:
		default:
		}
	}
}

func (r *region) applyFirst(ctx context.Context) error {
	select {
	case files := <-r.files:
		return r.apply(ctx, files)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// apply makes the cluster hold exactly these files, with the secrets of the stores.
// Where Argo CD delivers it brings the files, and only secrets, which are not in Git,
// and the namespaces that they need come from here.
func (r *region) apply(ctx context.Context, files []File) error {
	var objects []*manifest.Object
	namespaces := map[string]bool{}
	for _, f := range files {
		list, err := manifest.Decode(f.Path, f.Body)
		if err != nil {
			return err
		}
		for _, o := range list {
			if o.GetKind() == "Namespace" {
				namespaces[o.GetName()] = true
			}
		}
		objects = append(objects, list...)
	}
	for ns := range namespaces {
		for _, s := range r.world.stores {
			objects = append(objects, s.secret(ns))
		}
	}
	own := objects
	if r.world.spec.Delivery {
		own = slices.DeleteFunc(slices.Clone(objects), func(o *manifest.Object) bool { return o.GetKind() != "Namespace" && o.GetKind() != "Secret" })
	}
	if err := r.apps.Apply(ctx, own); err != nil {
		return err
	}
	r.mu.Lock()
	r.appObjects = objects
	r.mu.Unlock()
	return nil
}

func (r *region) applyAndWait(ctx context.Context, files []File) error {
	if err := r.apply(ctx, files); err != nil {
		return err
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := r.appsReady(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("applied, but not ready: %w", last)
		case <-tick.C:
		}
	}
}

// appsReady asks for every replica, and for an answer at every load balancer.
func (r *region) appsReady(ctx context.Context) error {
	r.mu.Lock()
	objects, entrances := r.appObjects, slices.Clone(r.appObjects)
	// The mesh's gateway takes connections once somebody has opened a port of it.
	if slices.ContainsFunc(objects, func(o *manifest.Object) bool { return o.GetKind() == "Gateway" }) {
		entrances = append(entrances, r.meshObjects...)
	}
	r.mu.Unlock()
	if err := r.apps.Ready(ctx, objects); err != nil {
		return err
	}
	for _, o := range entrances {
		if kind, _, _ := unstructured.NestedString(o.Object, "spec", "type"); o.GetKind() != "Service" || kind != string(corev1.ServiceTypeLoadBalancer) {
			continue
		}
		if err := r.cloud.reachable(ctx, o.GetNamespace(), o.GetName()); err != nil {
			return err
		}
	}
	return nil
}

func (r *region) powerOn(ctx context.Context, m *machine) error {
	r.mu.Lock()
	if m.deleted {
		r.mu.Unlock()
		return fmt.Errorf("node %s is deleted", m.name)
	}
	if m.Node == nil {
		n, err := r.newNode(m)
		if err != nil {
			r.mu.Unlock()
			return err
		}
		m.Node = n
	}
	r.mu.Unlock()
	return m.PowerOn(ctx)
}

func (r *region) powerOff(ctx context.Context, m *machine) error {
	r.mu.Lock()
	n := m.Node
	r.mu.Unlock()
	if n == nil {
		return nil
	}
	// The cable first: a machine without power says goodbye to nobody, and its
	// kernel here would close every connection of a process that ends.
	if err := r.network.DetachNode(m.zone, m.n); err != nil {
		return err
	}
	r.mu.Lock()
	m.cut = false
	r.mu.Unlock()
	return n.PowerOff(ctx)
}

// remove deletes a machine with its disk, as a scale set does; create makes
// another of its name.
func (r *region) remove(ctx context.Context, m *machine) error {
	if err := r.powerOff(ctx, m); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.deleted {
		return fmt.Errorf("node %s is deleted already", m.name)
	}
	if m.Node != nil {
		if err := m.Wipe(); err != nil {
			return err
		}
	}
	m.Node, m.deleted, m.since = nil, true, time.Now()
	return nil
}

func (r *region) create(ctx context.Context, m *machine) error {
	r.mu.Lock()
	if !m.deleted {
		r.mu.Unlock()
		return fmt.Errorf("node %s is there already", m.name)
	}
	m.deleted = false
	m.instance += network.MaxNodes
	r.mu.Unlock()
	return r.powerOn(ctx, m)
}

func (r *region) newNode(m *machine) (*node.Node, error) {
	w := r.world
	ca := r.cluster.CA()
	kubelet, err := r.cluster.Kubeconfig(r.cluster.APIServer(), pki.Subject{Name: "system:node:" + m.name, Groups: []string{"system:nodes"}})
	if err != nil {
		return nil, err
	}
	proxy, err := r.cluster.Kubeconfig(r.cluster.APIServer(), pki.Subject{Name: "system:kube-proxy"})
	if err != nil {
		return nil, err
	}
	serving, err := ca.Issue(pki.Subject{Name: "system:node:" + m.name, Groups: []string{"system:nodes"}, Hosts: []string{m.name, m.address.String()}})
	if err != nil {
		return nil, err
	}
	programs := map[string]string{}
	for _, name := range []string{"containerd", "runc", "pause", "bridge", "kubelet", "kube-proxy"} {
		if programs[name], err = w.engines.Path(name); err != nil {
			return nil, err
		}
	}
	volumes := r.volumes()
	if err := os.MkdirAll(volumes, 0o755); err != nil {
		return nil, err
	}
	group := w.group.Child("nodes").Child(m.name)
	config := node.Config{
		Name: m.name, ProviderID: r.cloud.providerID(m), Address: m.address,
		Disk: filepath.Join(w.spec.Dirs.Run, r.spec.Name, "nodes", m.name), LogDir: w.spec.Dirs.Logs,
		Group: group, Engines: filepath.Join(w.spec.Dirs.Cache, "engines"), Programs: programs, Image: w.images.node,
		Shared:     map[string]string{volumes: volumes},
		CA:         ca.PEM,
		Kubeconfig: kubelet, ProxyKubeconfig: proxy, Serving: serving,
		Resolver: network.Magic, DNS: r.plan.DNSService(), Pods: r.plan.Pods(),
		Mirror:      []byte(registry.HostsTOML(r.registryAddress())),
		ReservedCPU: w.spec.Reserved.CPU, ReservedMemory: w.spec.Reserved.Memory,
	}
	return node.New(config, func(set *namespace.Set) error { return r.network.AttachNode(m.zone, m.n, set) }), nil
}

func (r *region) nodeReady(ctx context.Context, name string) error {
	n, err := r.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, taint := range n.Spec.Taints {
		if taint.Effect == corev1.TaintEffectNoSchedule {
			return fmt.Errorf("node %s has the taint %s", name, taint.Key)
		}
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			if c.Status == corev1.ConditionTrue {
				return nil
			}
			return fmt.Errorf("node %s is not ready: %s", name, c.Message)
		}
	}
	return fmt.Errorf("node %s has not reported yet", name)
}
