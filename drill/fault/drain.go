package fault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/nines-ha/nines/record"
)

// drainWait is how long a drain tries: a budget that allows no eviction for so
// long would hold up an upgrade of the nodes too.
const drainWait = 4 * time.Minute

// nodeDrain drains two nodes at once where one stays: a single node tells
// nothing about a disruption budget.
func nodeDrain(ctx context.Context, sc *scene) (*Injection, error) {
	nodes, err := sc.drainable(ctx)
	if err != nil {
		return nil, err
	}
	sc.dice.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	// Those with most pods of the service, by chance where they are alike.
	slices.SortStableFunc(nodes, func(a, b string) int { return sc.podsOn(b) - sc.podsOn(a) })
	if sc.podsOn(nodes[0]) == 0 {
		return nil, fmt.Errorf("no node that can be drained runs a pod of %s", sc.site.Service)
	}
	nodes = slices.Sorted(slices.Values(nodes[:min(2, len(nodes), len(sc.nodes)-1)]))
	what := "node " + nodes[0]
	if len(nodes) == 2 {
		what = "nodes " + strings.Join(nodes, " and ") + " at the same time, as when two node pools are upgraded at once"
	}
	i := &Injection{Touches: []string{
		"cordon " + what,
		fmt.Sprintf("evict all pods there but those of DaemonSets, within their disruption budgets: %s run there", sc.share(nodes...)),
	}}
	for _, n := range nodes {
		i.Heals = append(i.Heals, Heal{Do: "uncordon", Node: n})
	}
	i.inject = func(ctx context.Context, tell func(record.Event)) error {
		ctx, cancel := context.WithTimeout(ctx, drainWait)
		defer cancel()
		all, ctx := errgroup.WithContext(ctx)
		for _, n := range nodes {
			all.Go(func() error { return sc.drain(ctx, n, tell) })
		}
		return all.Wait()
	}
	return i, nil
}

// drainable are the nodes that can be drained without losing a pod for good, or
// why there is none.
func (sc *scene) drainable(ctx context.Context) (nodes []string, err error) {
	var reasons []string
	for _, n := range sc.nodes {
		pods, err := evictable(ctx, sc.site.Kube, n.Name)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(pods, func(p corev1.Pod) bool { return metav1.GetControllerOf(&p) == nil })
		if i < 0 {
			nodes = append(nodes, n.Name)
			continue
		}
		reasons = append(reasons, fmt.Sprintf("nobody would make pod %s/%s of node %s again", pods[i].Namespace, pods[i].Name, n.Name))
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("no node can be drained: %s", strings.Join(reasons, ", "))
	}
	return nodes, nil
}

// evictable are the pods of a node that a drain moves: not those of DaemonSets,
// which would come back at once, nor the kubelet's own.
func evictable(ctx context.Context, kube kubernetes.Interface, node string) ([]corev1.Pod, error) {
	list, err := kube.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String()})
	if err != nil {
		return nil, fmt.Errorf("list pods of node %s: %w", node, err)
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
		_, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]
		owner := metav1.GetControllerOf(&p)
		finished := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		return p.Spec.NodeName != node || mirror || finished || owner != nil && owner.Kind == "DaemonSet"
	}), nil
}

func cordon(ctx context.Context, kube kubernetes.Interface, node string, cordoned bool) error {
	patch := fmt.Sprintf(`{"spec":{"unschedulable":%t}}`, cordoned)
	_, err := kube.CoreV1().Nodes().Patch(ctx, node, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: manager})
	return err
}

// drain returns when the node has no pod left to move.
func (sc *scene) drain(ctx context.Context, node string, tell func(record.Event)) error {
	tell(sc.on(node, done, "node "+node+" cordoned, its pods are being evicted"))
	if err := cordon(ctx, sc.site.Kube, node, true); err != nil {
		return fmt.Errorf("cordon %s: %w", node, err)
	}
	retry := time.NewTicker(time.Second) // kubectl waits 5 s
	defer retry.Stop()
	for {
		left, err := sc.evictAll(ctx, node, tell)
		if err != nil {
			return fmt.Errorf("drain %s: %w", node, err)
		}
		if left == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("drain %s: %w: %w", node, context.Cause(ctx), left)
		case <-retry.C:
		}
	}
}

// evictAll asks once for the eviction of each pod that is not ending yet. left
// says what is still there, and why.
func (sc *scene) evictAll(ctx context.Context, node string, tell func(record.Event)) (left, err error) {
	pods, err := evictable(ctx, sc.site.Kube, node)
	if err != nil {
		if passing(err) {
			return err, nil
		}
		return nil, err
	}
	for _, p := range pods {
		name := p.Namespace + "/" + p.Name
		if p.DeletionTimestamp != nil {
			left = errors.Join(left, fmt.Errorf("pod %s is ending", name))
			continue
		}
		err := sc.site.Kube.PolicyV1().Evictions(p.Namespace).Evict(ctx, &policyv1.Eviction{
			ObjectMeta:    metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name},
			DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID}},
		})
		switch {
		case err == nil:
			tell(record.Event{Kind: record.Fault, Name: p.Name, State: done, Node: node, Zone: sc.zoneOf(node), Text: "pod " + name + " evicted"})
			left = errors.Join(left, fmt.Errorf("pod %s is ending", name))
		case apierrors.IsNotFound(err), apierrors.IsConflict(err): // gone meanwhile
		case passing(err):
			left = errors.Join(left, fmt.Errorf("pod %s: %w", name, err))
		default:
			return nil, fmt.Errorf("evict pod %s: %w", name, err)
		}
	}
	return left, nil
}

// passing errors go away: a disruption budget that allows nothing just now
// answers 429, an API server that restarts does not answer.
func passing(err error) bool {
	var status apierrors.APIStatus
	return !errors.As(err, &status) || apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsTimeout(err)
}
