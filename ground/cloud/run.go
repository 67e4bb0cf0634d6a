package cloud

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	cloudprovider "k8s.io/cloud-provider"
	nodecontroller "k8s.io/cloud-provider/controllers/node"
	lifecyclecontroller "k8s.io/cloud-provider/controllers/nodelifecycle"
	routecontroller "k8s.io/cloud-provider/controllers/route"
	servicecontroller "k8s.io/cloud-provider/controllers/service"
	controllersmetrics "k8s.io/component-base/metrics/prometheus/controllers"
	_ "k8s.io/controller-manager/pkg/features/register" // the route controller panics over a feature nobody registered
	"k8s.io/klog/v2"

	"github.com/nines-ha/nines/ground/balancer"
)

const (
	managerName = "cloud-controller-manager"

	// A ground is small and its cloud is in this process, so that it can ask
	// more often than a provider that pays for each call.
	nodeMonitorPeriod = time.Second
	routeSyncPeriod   = time.Second
	addressSyncPeriod = time.Minute
	nodeWorkers       = 4
	serviceWorkers    = 4
	queriesPerSecond  = 50
	burst             = 100
	informerResync    = 10 * time.Hour
)

// Run starts the controllers and returns when ctx has ended and they have
// stopped, or at once when it cannot start. Run does not clear what the cloud
// has: the machines, routes and balancers go with the ground.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	config := rest.AddUserAgent(rest.CopyConfig(cfg.REST), managerName)
	if config.QPS == 0 {
		config.QPS, config.Burst = queriesPerSecond, burst
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("cloud of region %q: %w", cfg.Region, err)
	}
	return run(ctx, cfg, client)
}

func run(ctx context.Context, cfg Config, client kubernetes.Interface) error {
	// First, because a controller that was made and does not run cannot be stopped.
	if err := os.MkdirAll(cfg.Volumes, diskMode); err != nil {
		return fmt.Errorf("cloud of region %q: directory for volumes: %w", cfg.Region, err)
	}
	ctx, cancel := context.WithCancel(klog.NewContext(ctx, logr.FromSlogHandler(cfg.Log.Handler())))
	defer cancel()
	shared := informers.NewSharedInformerFactory(client, informerResync)
	nodes, services := shared.Core().V1().Nodes(), shared.Core().V1().Services()
	provider := newProvider(cfg)

	nodeController, err := nodecontroller.NewCloudNodeController(nodes, client, provider, addressSyncPeriod, nodeWorkers, nodeWorkers)
	if err != nil {
		return fmt.Errorf("node controller: %w", err)
	}
	lifecycleController, err := lifecyclecontroller.NewCloudNodeLifecycleController(nodes, client, provider, nodeMonitorPeriod)
	if err != nil {
		return fmt.Errorf("node lifecycle controller: %w", err)
	}
	clusterCIDR := &net.IPNet{IP: cfg.ClusterCIDR.Addr().AsSlice(), Mask: net.CIDRMask(cfg.ClusterCIDR.Bits(), cfg.ClusterCIDR.Addr().BitLen())}
	routeController, err := routecontroller.New(provider.routes, client, nodes, cfg.Cluster, []*net.IPNet{clusterCIDR})
	if err != nil {
		return fmt.Errorf("route controller: %w", err)
	}
	serviceController, err := servicecontroller.New(provider, client, services, nodes, cfg.Cluster, utilfeature.DefaultFeatureGate)
	if err != nil {
		return fmt.Errorf("service controller: %w", err)
	}
	var running sync.WaitGroup
	disks := newDiskController(ctx, cfg, client, shared, &running)

	shared.Start(ctx.Done())
	defer func() {
		cancel() // or nothing below would end
		running.Wait()
		shared.Shutdown()
	}()
	for informer, synced := range shared.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("cloud of region %q: no list of %v from the API server: %w", cfg.Region, informer, context.Cause(ctx))
		}
	}
	if err := provider.balancers.reserve(services.Lister()); err != nil {
		return fmt.Errorf("cloud of region %q: %w", cfg.Region, err)
	}

	metrics := controllersmetrics.NewControllerManagerMetrics(managerName)
	running.Go(func() { nodeController.RunWithContext(ctx, metrics) })
	running.Go(func() { lifecycleController.Run(ctx, metrics) })
	running.Go(func() { routeController.Run(ctx, routeSyncPeriod, metrics) })
	running.Go(func() { serviceController.Run(ctx, serviceWorkers, metrics) })
	running.Go(func() { disks.Run(ctx) })
	cfg.Log.Info("cloud controllers run", "region", cfg.Region)
	<-ctx.Done()
	return nil
}

// UseLog sends what the controllers and client-go say to log. klog, which they
// write to, has one logger for the whole process, and without this it writes to
// stderr: call UseLog once, before anything of Kubernetes.
func UseLog(log *slog.Logger) { klog.SetLogger(logr.FromSlogHandler(log.Handler())) }

// provider is the ground as a cloud.
type provider struct {
	machines  machines
	routes    routes
	balancers *loadBalancers
}

func newProvider(cfg Config) *provider {
	return &provider{
		machines: machines{cfg.Fabric},
		routes:   routes{cfg.Fabric},
		balancers: &loadBalancers{
			fabric: cfg.Fabric, balancers: cfg.Balancers, probes: cfg.Probes, zoned: cfg.Zoned, log: cfg.Log,
			frontends: &frontends{public: cfg.Frontends, internal: cfg.Internal, owner: map[netip.Addr]string{}},
			active:    map[string]*corev1.LoadBalancerStatus{},
		},
	}
}

func (p *provider) Initialize(cloudprovider.ControllerClientBuilder, <-chan struct{}) {}
func (p *provider) LoadBalancer() (cloudprovider.LoadBalancer, bool)                  { return p.balancers, true }
func (p *provider) InstancesV2() (cloudprovider.InstancesV2, bool)                    { return p.machines, true }
func (p *provider) Routes() (cloudprovider.Routes, bool)                              { return p.routes, true }
func (p *provider) Instances() (cloudprovider.Instances, bool)                        { return nil, false }
func (p *provider) Zones() (cloudprovider.Zones, bool)                                { return nil, false }
func (p *provider) Clusters() (cloudprovider.Clusters, bool)                          { return nil, false }
func (p *provider) ProviderName() string                                              { return "azure" }
func (p *provider) HasClusterID() bool                                                { return true }

var (
	_ cloudprovider.Interface    = (*provider)(nil)
	_ cloudprovider.InstancesV2  = machines{}
	_ cloudprovider.Routes       = routes{}
	_ cloudprovider.LoadBalancer = (*loadBalancers)(nil)
	_ Balancers                  = (*balancer.Plane)(nil)
)

// reserve keeps the addresses of Services that have one, so that no newer
// Service is given it first.
func (l *loadBalancers) reserve(services corelisters.ServiceLister) error {
	all, err := services.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list services: %w", err)
	}
	for _, service := range all {
		if service.Spec.Type != corev1.ServiceTypeLoadBalancer || service.Spec.LoadBalancerClass != nil || len(service.Status.LoadBalancer.Ingress) == 0 {
			continue
		}
		if ask, err := addressOf(service); err == nil {
			l.frontends.keep(ask)
		}
	}
	return nil
}
