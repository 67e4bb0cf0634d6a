package fault

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nines-ha/nines/record"
)

// zoneEmpty is how long a zone has no replica.
const zoneEmpty = 20 * time.Second

// locality empties a zone in good order, and fills it again, so that what is tested
// is where calls go, and not what becomes of those that a dead replica had. Its
// gateway stays.
func locality(_ context.Context, sc *scene) (*Injection, error) {
	homes := map[string][]string{} // nodes by zone, where a replica is ready
	for _, n := range sc.nodes {
		homes[sc.zoneOf(n.Name)] = append(homes[sc.zoneOf(n.Name)], n.Name)
	}
	maps.DeleteFunc(homes, func(zone string, nodes []string) bool { return zone == "" || sc.podsOn(nodes...) == 0 })
	if len(homes) < 2 {
		return nil, fmt.Errorf("%s must have ready pods in two zones, or nobody is left; it has some in %d", sc.site.Service, len(homes))
	}
	zones := slices.Sorted(maps.Keys(homes))
	z := zone{name: zones[sc.dice.IntN(len(zones))]}
	z.nodes = homes[z.name]
	i := &Injection{Touches: []string{
		fmt.Sprintf("cordon %s and delete, with their grace periods, the pods of %s there: %s", z, sc.site.Service, sc.share(z.nodes...)),
		fmt.Sprintf("uncordon it after %s, and delete in the same way what has started elsewhere in their place, so that replicas come back", zoneEmpty),
	}}
	for _, n := range z.nodes {
		i.Heals = append(i.Heals, Heal{Do: "uncordon", Node: n})
	}
	i.inject = func(ctx context.Context, tell func(record.Event)) error {
		on := func(state, text string) record.Event {
			return record.Event{Kind: record.Fault, Name: z.name, State: state, Zone: z.name, Text: text}
		}
		tell(on(done, "zone "+z.name+" cordoned, its pods of "+sc.site.Service+" deleted"))
		old, taken, err := sc.empty(ctx, z)
		if err != nil {
			return err
		}
		if err := pause(ctx, zoneEmpty); err != nil {
			return err
		}
		tell(on(undone, "zone "+z.name+" uncordoned"))
		if err := sc.cordonAll(ctx, z.nodes, false); err != nil {
			return err
		}
		if err := sc.sendBack(ctx, z, old, taken); err != nil {
			return err
		}
		return until(ctx, "wait for replicas in zone "+z.name, func(ctx context.Context) error {
			pods, err := sc.podsNow(ctx)
			if err != nil {
				return err
			}
			if back := slices.DeleteFunc(readyOf(pods), func(p corev1.Pod) bool { return !z.has(p) }); len(back) < taken {
				return fmt.Errorf("%d of %d are ready there", len(back), taken)
			}
			return nil
		})
	}
	return i, nil
}

func (z zone) has(p corev1.Pod) bool { return slices.Contains(z.nodes, p.Spec.NodeName) }

// empty takes the replicas of a zone away. It tells which ones there were anywhere,
// and how many were taken.
func (sc *scene) empty(ctx context.Context, z zone) (old map[types.UID]bool, taken int, err error) {
	if err := sc.cordonAll(ctx, z.nodes, true); err != nil {
		return nil, 0, err
	}
	pods, err := sc.podsNow(ctx)
	if err != nil {
		return nil, 0, err
	}
	old = map[types.UID]bool{}
	for _, p := range pods {
		old[p.UID] = true
		if p.DeletionTimestamp != nil || !z.has(p) {
			continue
		}
		taken++
		if err := sc.retire(ctx, p); err != nil {
			return nil, 0, err
		}
	}
	return old, taken, nil
}

// sendBack removes as many of the replicas that have started outside a zone as it
// has lost. Those that come in their place find it the emptiest, which is where
// replicas that are spread evenly must go; one that waited for it goes by itself.
func (sc *scene) sendBack(ctx context.Context, z zone, old map[types.UID]bool, taken int) error {
	pods, err := sc.podsNow(ctx)
	if err != nil {
		return err
	}
	for _, p := range pods {
		if taken == 0 || old[p.UID] || p.DeletionTimestamp != nil || p.Spec.NodeName == "" || z.has(p) {
			continue
		}
		taken--
		if err := sc.retire(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// retire deletes a pod with the grace period that it asks for.
func (sc *scene) retire(ctx context.Context, p corev1.Pod) error {
	err := sc.site.Kube.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete pod %s: %w", p.Name, err)
	}
	return nil
}

func (sc *scene) cordonAll(ctx context.Context, nodes []string, cordoned bool) error {
	for _, n := range nodes {
		if err := cordon(ctx, sc.site.Kube, n, cordoned); err != nil {
			return fmt.Errorf("set whether %s is cordoned: %w", n, err)
		}
	}
	return nil
}
