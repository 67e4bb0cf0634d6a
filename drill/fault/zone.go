package fault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nines-ha/nines/record"
)

const (
	// moveWait is how long the platform may take to move on from a lost zone:
	// detection, eviction after its tolerations, and new pods that become ready.
	moveWait = 4 * time.Minute
	// bootWait is how long machines may take until their nodes are Ready.
	bootWait = 2 * time.Minute
)

// zone is a zone of the site's region.
type zone struct {
	n     int
	name  string // as in the label of its nodes
	nodes []string
}

// zones are those whose machines run, by number.
func (sc *scene) zones() []zone {
	found := map[int]*zone{}
	for _, r := range sc.ground.Regions {
		if r.Name != sc.site.Region {
			continue
		}
		for _, n := range r.Nodes {
			if n.State != "running" || slices.Contains(r.CutZones, n.Zone) {
				continue
			}
			if found[n.Zone] == nil {
				found[n.Zone] = &zone{n: n.Zone}
			}
			z := found[n.Zone]
			z.nodes = append(z.nodes, n.Name)
			if z.name = sc.zoneOf(n.Name); z.name == "" {
				z.name = fmt.Sprintf("%s-%d", r.Name, n.Zone)
			}
		}
	}
	var zones []zone
	for _, n := range slices.Sorted(maps.Keys(found)) {
		zones = append(zones, *found[n])
	}
	return zones
}

// zone is one that runs a ready pod of the service.
func (sc *scene) zone() (zone, error) {
	zones := slices.DeleteFunc(sc.zones(), func(z zone) bool { return sc.podsOn(z.nodes...) == 0 })
	if len(zones) == 0 {
		return zone{}, fmt.Errorf("no zone that is in order runs a pod of %s", sc.site.Service)
	}
	return zones[sc.dice.IntN(len(zones))], nil
}

func (z zone) String() string {
	return fmt.Sprintf("zone %s (%s)", z.name, strings.Join(z.nodes, ", "))
}

func (z zone) powerOn() (heals []Heal) {
	for _, n := range z.nodes {
		heals = append(heals, Heal{Do: "power", Node: n})
	}
	return heals
}

func zoneLoss(_ context.Context, sc *scene) (*Injection, error) {
	z, err := sc.zone()
	if err != nil {
		return nil, err
	}
	return &Injection{
		Touches: []string{fmt.Sprintf("cut the power of every node of %s at once; they run %s", z, sc.share(z.nodes...))},
		Heals:   z.powerOn(),
		inject:  sc.power(false, z.nodes...),
	}, nil
}

func zonePartition(_ context.Context, sc *scene) (*Injection, error) {
	z, err := sc.zone()
	if err != nil {
		return nil, err
	}
	region := sc.site.Region
	return &Injection{
		Touches: []string{fmt.Sprintf("cut %s off from everything outside it; it runs %s", z, sc.share(z.nodes...))},
		Heals:   []Heal{{Do: "join", Region: region, Zone: z.n}},
		inject: func(ctx context.Context, tell func(record.Event)) error {
			tell(record.Event{Kind: record.Fault, Name: z.name, State: done, Zone: z.name, Text: "zone " + z.name + " cut off"})
			return sc.site.Ground.ZoneLink(ctx, region, z.n, false)
		},
	}, nil
}

func zoneReturn(_ context.Context, sc *scene) (*Injection, error) {
	z, err := sc.zone()
	if err != nil {
		return nil, err
	}
	off, on := sc.power(false, z.nodes...), sc.power(true, z.nodes...)
	return &Injection{
		Touches: []string{
			fmt.Sprintf("before the load: cut the power of every node of %s, which run %s, and wait until replicas, endpoints and load balancer have moved on", z, sc.share(z.nodes...)),
			fmt.Sprintf("then give zone %s its power back under load", z.name),
		},
		Heals: z.powerOn(),
		before: func(ctx context.Context, tell func(record.Event)) error {
			if err := off(ctx, tell); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, moveWait)
			defer cancel()
			return until(ctx, "wait until the platform has moved on from zone "+z.name, func(ctx context.Context) error { return sc.movedOn(ctx, z) })
		},
		inject: func(ctx context.Context, tell func(record.Event)) error {
			if err := on(ctx, tell); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, bootWait)
			defer cancel()
			return until(ctx, "wait for the nodes of zone "+z.name, func(ctx context.Context) error { return sc.nodesReady(ctx, z.nodes) })
		},
	}, nil
}

// movedOn says nil when nobody counts on a zone any more, and all replicas serve
// elsewhere.
func (sc *scene) movedOn(ctx context.Context, z zone) error {
	pods, err := sc.podsNow(ctx)
	if err != nil {
		return err
	}
	serving := int32(0)
	for _, p := range pods {
		if p.DeletionTimestamp == nil && podReady(&p) && !slices.Contains(z.nodes, p.Spec.NodeName) {
			serving++
		}
	}
	if want := sc.replicas(); serving < want {
		return fmt.Errorf("%d of %d replicas serve elsewhere", serving, want)
	}
	list, err := sc.site.Kube.DiscoveryV1().EndpointSlices(sc.site.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: discoveryv1.LabelServiceName + "=" + sc.site.Service,
	})
	if err != nil {
		return fmt.Errorf("list endpoints: %w", err)
	}
	endpoints := int32(0)
	for _, s := range list.Items {
		for _, e := range s.Endpoints {
			if e.Conditions.Ready == nil || !*e.Conditions.Ready || e.NodeName == nil {
				continue
			}
			if slices.Contains(z.nodes, *e.NodeName) {
				return fmt.Errorf("an endpoint is still on node %s", *e.NodeName)
			}
			endpoints++
		}
	}
	if endpoints < sc.replicas() {
		return fmt.Errorf("%d of %d endpoints are ready", endpoints, sc.replicas())
	}
	return sc.balancerSettled(ctx, z)
}

func (sc *scene) balancerSettled(ctx context.Context, z zone) error {
	status, err := sc.site.Ground.Status(ctx)
	if err != nil {
		return err
	}
	for _, r := range status.Regions {
		if r.Name != sc.site.Region {
			continue
		}
		for _, b := range r.Balancers {
			for _, backend := range b.Backends {
				if slices.Contains(z.nodes, backend.Node) && backend.State == "up" {
					return fmt.Errorf("the load balancer still counts on node %s", backend.Node)
				}
			}
		}
	}
	return nil
}

func (sc *scene) nodesReady(ctx context.Context, names []string) error {
	for _, name := range names {
		n, err := sc.site.Kube.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !nodeReady(n) {
			return errors.New("node " + name + " is not ready")
		}
	}
	return nil
}
