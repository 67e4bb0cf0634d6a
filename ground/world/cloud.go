package world

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nines-ha/nines/ground/balancer"
	"github.com/nines-ha/nines/ground/cloud"
	"github.com/nines-ha/nines/ground/network"
	"github.com/nines-ha/nines/ground/part"
	"github.com/nines-ha/nines/internal/pki"
)

// machineSize is the size that nodes say they are, AKS's usual one.
const machineSize = "Standard_D4ds_v5"

// settle is the probe interval until a backend was first healthy; Azure has none.
const settle = 500 * time.Millisecond

// BalancerInfo is a load balancer with what its probes say.
type BalancerInfo = balancer.Status

// cloudController is the cloud below a region's Kubernetes.
type cloudController struct {
	region *region
	plane  *balancer.Plane
	cancel context.CancelFunc
	done   chan struct{}
	failed chan error

	mu     sync.Mutex
	routes map[netip.Prefix]cloud.Route
}

func newCloudController(r *region) *cloudController {
	return &cloudController{region: r, routes: map[netip.Prefix]cloud.Route{}, failed: make(chan error, 1)}
}

func (c *cloudController) part() part.Part {
	r := c.region
	return part.Part{
		Name: r.part("cloud-controller"), Needs: []string{r.part("access"), r.part("controller-manager"), "network"},
		About:   "k8s.io/cloud-provider with the ground as its cloud, and the load balancer",
		Prepare: c.start, Undo: c.stop,
		Ready: func(context.Context) error {
			select {
			case err := <-c.failed:
				c.failed <- err
				return err
			default:
				return nil
			}
		},
	}
}

func (c *cloudController) manifests() [][]byte { return [][]byte{cloud.Manifests()} }

func (c *cloudController) start(context.Context) error {
	r := c.region
	zones := map[string]balancer.Zone{}
	for z := 1; z <= r.spec.Zones; z++ {
		zones[c.zone(z)] = balancer.Zone{Router: r.network.ZoneRouter(z), Uplink: network.Uplink, Link: network.ZoneLink(z)}
	}
	log := r.world.log.With("region", r.spec.Name)
	plane, err := balancer.Open(balancer.Config{Router: r.network.Router(), Source: network.Magic, Zones: zones, Settle: settle, Log: log})
	if err != nil {
		return err
	}
	c.mu.Lock() // a status may be asked for meanwhile
	c.plane = plane
	c.mu.Unlock()
	rest, err := r.cluster.Client(pki.Subject{Name: cloud.User})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel, c.done = cancel, make(chan struct{})
	go func() {
		defer close(c.done)
		err := cloud.Run(ctx, cloud.Config{
			Cluster: r.world.spec.Name, Region: r.spec.Name, ClusterCIDR: r.plan.Pods(), REST: rest,
			Fabric: c, Balancers: tellingBalancers{c}, Frontends: r.plan.Frontends(), Internal: r.plan.InternalFrontends(),
			Zoned: true, Volumes: r.volumes(), Log: log,
		})
		if err != nil && ctx.Err() == nil {
			log.Error("cloud controllers ended", "error", err)
			c.failed <- err
		}
	}()
	return nil
}

func (c *cloudController) stop(context.Context) error {
	if c.cancel != nil {
		c.cancel()
		<-c.done
	}
	if c.plane != nil {
		return c.plane.Close()
	}
	return nil
}

func (c *cloudController) zone(z int) string { return fmt.Sprintf("%s-%d", c.region.spec.Name, z) }

func (c *cloudController) providerID(m *machine) string {
	return cloud.ProviderID(c.region.world.spec.Name, c.region.spec.Name, fmt.Sprintf("zone%d", m.zone), m.instance)
}

// Machines are the region's, on or off.
func (c *cloudController) Machines(context.Context) ([]cloud.Machine, error) {
	c.region.mu.Lock()
	defer c.region.mu.Unlock()
	var list []cloud.Machine
	for _, m := range c.region.nodes {
		if m.deleted {
			continue
		}
		list = append(list, cloud.Machine{
			Name: m.name, Region: c.region.spec.Name, Zone: c.zone(m.zone), Size: machineSize,
			ProviderID: c.providerID(m), Address: m.address,
			Running: m.Node != nil && m.State() != "stopped",
		})
	}
	return list, nil
}

// Routes are those to the nodes' pods.
func (c *cloudController) Routes(context.Context) ([]cloud.Route, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []cloud.Route
	for _, route := range c.routes {
		list = append(list, route)
	}
	return list, nil
}

// CreateRoute sends a node's pod network to it.
func (c *cloudController) CreateRoute(_ context.Context, route cloud.Route) error {
	for _, m := range c.region.nodes {
		if m.name == route.Node {
			if err := c.region.network.Route(route.PodCIDR, m.zone, m.address); err != nil {
				return err
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.routes[route.PodCIDR] = route
			return nil
		}
	}
	return fmt.Errorf("no machine is called %s", route.Node)
}

// DeleteRoute takes a pod network's route away.
func (c *cloudController) DeleteRoute(_ context.Context, pods netip.Prefix) error {
	if err := c.region.network.Unroute(pods); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.routes, pods)
	return nil
}

func (c *cloudController) balancers() []BalancerInfo {
	c.mu.Lock()
	plane := c.plane
	c.mu.Unlock()
	if plane == nil {
		return nil
	}
	return plane.Status()
}

// tellingBalancers lets the owner know of every frontend.
type tellingBalancers struct{ cloud *cloudController }

func (t tellingBalancers) Apply(ctx context.Context, b balancer.Balancer, backends []balancer.Backend) error {
	err := t.cloud.plane.Apply(ctx, b, backends)
	t.cloud.region.world.tellFrontends()
	return err
}

func (t tellingBalancers) Remove(ctx context.Context, name string) error {
	err := t.cloud.plane.Remove(ctx, name)
	t.cloud.region.world.tellFrontends()
	return err
}

func (w *World) tellFrontends() {
	list := []Frontend{}
	for _, r := range w.regions {
		for _, b := range r.cloud.balancers() {
			for _, p := range b.Ports {
				list = append(list, Frontend{Region: r.spec.Name, Service: b.Name, Address: b.Frontend.String(), Port: int(p.Port), Protocol: string(p.Protocol)})
			}
		}
	}
	w.tell(Event{Frontends: &list})
}

// reachable says nil when the load balancer has seen every node that has a pod of
// the service answer, and takes connections from outside the region.
func (c *cloudController) reachable(ctx context.Context, namespace, name string) error {
	service, err := c.region.client.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if len(service.Status.LoadBalancer.Ingress) == 0 {
		return fmt.Errorf("service %s/%s has no load balancer yet", namespace, name)
	}
	slices, err := c.region.client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + name})
	if err != nil {
		return err
	}
	serving := map[string]bool{}
	for _, slice := range slices.Items {
		for _, e := range slice.Endpoints {
			if e.NodeName != nil && e.Conditions.Ready != nil && *e.Conditions.Ready {
				serving[*e.NodeName] = true
			}
		}
	}
	for _, b := range c.balancers() {
		if b.Name != namespace+"/"+name {
			continue
		}
		for _, backend := range b.Backends {
			if serving[backend.Node] && backend.State != balancer.Up {
				return fmt.Errorf("the load balancer of %s/%s has not seen node %s answer yet: %s", namespace, name, backend.Node, backend.Reason)
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for _, p := range service.Spec.Ports {
		if p.Protocol != corev1.ProtocolTCP {
			continue
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(service.Status.LoadBalancer.Ingress[0].IP, strconv.Itoa(int(p.Port))))
		if err != nil {
			return fmt.Errorf("the load balancer of %s/%s does not answer: %w", namespace, name, err)
		}
		conn.Close()
	}
	return nil
}

// volumes is where the region's disks are, on the host and in every node.
func (r *region) volumes() string {
	return filepath.Join(r.world.spec.Dirs.Run, r.spec.Name, "volumes")
}
