package fault

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nines-ha/nines/ground/mesh"
	"github.com/nines-ha/nines/record"
)

// spreadWait bounds a restart that spreads a service again.
const spreadWait = 3 * time.Minute

// Spread restarts a service once if its pods stand in fewer zones, or less evenly,
// than they could, and so with the gateway of a mesh, and says whether it did;
// announce is called before it does. Kubernetes moves no running pod, so that after
// a lost zone or a drain all of them may stand in one place.
func Spread(ctx context.Context, s *Site, announce func(name string)) (restarted bool, err error) {
	restarted, err = spreadOne(ctx, s, announce)
	if err != nil || !s.Mesh {
		return restarted, err
	}
	gateway := *s
	gateway.Namespace, gateway.Service = mesh.IngressNamespace, mesh.Ingress
	too, err := spreadOne(ctx, &gateway, announce)
	return restarted || too, err
}

func spreadOne(ctx context.Context, s *Site, announce func(name string)) (restarted bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, spreadWait)
	defer cancel()
	sc := &scene{site: s}
	if err := sc.lookAtCluster(ctx); err != nil || sc.even() {
		return false, err
	}
	restart, err := rollingRestart(ctx, sc)
	if err != nil {
		return false, err
	}
	announce(s.Service)
	return true, restart.Inject(ctx, func(record.Event) {})
}

// even says whether no zone has two pods more than another.
func (sc *scene) even() bool {
	zoneOf, pods := map[string]string{}, map[string]int{}
	for _, n := range sc.nodes {
		zone := n.Labels[corev1.LabelTopologyZone]
		zoneOf[n.Name] = zone
		pods[zone] += 0
	}
	for _, p := range sc.pods {
		pods[zoneOf[p.Spec.NodeName]]++
	}
	least, most := len(sc.pods), 0
	for _, n := range pods {
		least, most = min(least, n), max(most, n)
	}
	return most-least < 2
}
