package cloud

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"k8s.io/client-go/rest"

	"github.com/nines-ha/nines/ground/balancer"
)

// A Machine is a virtual machine that exists, running or not.
type Machine struct {
	Name       string // of the Node too
	Region     string
	Zone       string // as in Azure's labels: westeurope-1
	Size       string // Standard_D4ds_v5
	ProviderID string // unique for ever; see ProviderID
	Address    netip.Addr
	Running    bool
}

// A Route sends a node's pods to the node.
type Route struct {
	Name    string
	Node    string
	PodCIDR netip.Prefix
	NextHop netip.Addr
}

// A Fabric is the region as far as the controllers need it.
type Fabric interface {
	// Machines are all that exist; a deleted one is absent.
	Machines(ctx context.Context) ([]Machine, error)
	Routes(ctx context.Context) ([]Route, error)
	CreateRoute(ctx context.Context, route Route) error          // replaces one to the same PodCIDR
	DeleteRoute(ctx context.Context, podCIDR netip.Prefix) error // no error if there is none
}

// Balancers carry out what the service controller decides. *balancer.Plane is one.
type Balancers interface {
	Apply(ctx context.Context, b balancer.Balancer, backends []balancer.Backend) error
	Remove(ctx context.Context, name string) error
}

// ProbeMode is how Services with externalTrafficPolicy Cluster are probed.
type ProbeMode string

const (
	ServiceProbe ProbeMode = ""       // each rule by its node port, AKS's ServiceNodePort
	SharedProbe  ProbeMode = "shared" // the node by its kube-proxy, AKS's Shared
)

// Config is what Run needs. Everything is required but Zoned, Probes and Log.
type Config struct {
	Cluster     string
	Region      string
	ClusterCIDR netip.Prefix // of all pods
	REST        *rest.Config // of the user that Manifests binds
	Fabric      Fabric
	Balancers   Balancers
	Frontends   netip.Prefix // public frontend addresses
	Internal    netip.Prefix // frontend addresses inside the virtual network
	Zoned       bool         // backends name their zone to Balancers
	Probes      ProbeMode
	Volumes     string       // directory of the disks, the same path in every node
	Log         *slog.Logger // nil: silent
}

func (c Config) validate() error {
	var problems []error
	need := func(missing bool, what string) {
		if missing {
			problems = append(problems, errors.New(what))
		}
	}
	need(c.Cluster == "", "no cluster name")
	need(c.Region == "", "no region")
	need(!c.ClusterCIDR.IsValid(), "no network for pods")
	need(c.REST == nil, "no way to the API server")
	need(c.Fabric == nil, "no fabric")
	need(c.Balancers == nil, "no balancers")
	need(!c.Frontends.IsValid() || !c.Frontends.Addr().Is4(), "no IPv4 network for public frontends")
	need(!c.Internal.IsValid() || !c.Internal.Addr().Is4(), "no IPv4 network for internal frontends")
	need(c.Volumes == "", "no directory for volumes")
	need(c.Probes != ServiceProbe && c.Probes != SharedProbe, fmt.Sprintf("no probe mode %q", c.Probes))
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("cloud of region %q: %w", c.Region, err)
	}
	return nil
}

// ProviderID is the id of instance number n of a node pool, in the form of a
// virtual machine of a scale set that AKS made. The subscription is zero, which
// none is.
func ProviderID(cluster, region, pool string, instance int) string {
	return fmt.Sprintf("azure:///subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/mc_%s_%s_%s"+
		"/providers/Microsoft.Compute/virtualMachineScaleSets/aks-%s-vmss/virtualMachines/%d",
		cluster, cluster, region, pool, instance)
}
