package fault

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nines-ha/nines/drill/workload"
	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/record"
)

// lookWait is how long a look at the cluster may take.
const lookWait = 20 * time.Second

// scene is what victims are chosen from, as it was at one look.
type scene struct {
	site       *Site
	deployment *appsv1.Deployment
	selector   string
	pods       []corev1.Pod  // ready ones of the Deployment, by name
	nodes      []corev1.Node // that take pods, by name
	known      int           // nodes of any kind
	ground     *ground.Status
	dice       *rand.Rand
}

// look refuses a site at which the fault cannot happen.
func (f Fault) look(ctx context.Context, s *Site) (*scene, error) {
	if f.Ground && s.Ground == nil {
		return nil, &ImpossibleError{f.Name + " needs a proving ground: Kubernetes' API cannot do it"}
	}
	if f.store && len(s.Stores) == 0 {
		return nil, &ImpossibleError{fmt.Sprintf("%s needs a managed database, and %s has none", f.Name, s.Namespace)}
	}
	if f.mesh && !s.Mesh {
		return nil, &ImpossibleError{fmt.Sprintf("%s needs a mesh, and %s is in none", f.Name, s.Service)}
	}
	if f.shares && len(s.Traffic) == 0 {
		return nil, &ImpossibleError{fmt.Sprintf("%s needs a service that shares its traffic, and %s does not: give it \"traffic\", as examples/shaping does", f.Name, s.Service)}
	}
	if f.traces && !s.Traces {
		return nil, &ImpossibleError{fmt.Sprintf("%s needs traces, and the description of %s has none (traces: {sample: 1%%})", f.Name, s.Namespace)}
	}
	sum := fnv.New64a()
	sum.Write([]byte(f.Name))
	sc := &scene{site: s, dice: rand.New(rand.NewPCG(s.Seed, sum.Sum64()))}
	if err := sc.lookAtCluster(ctx); err != nil {
		return nil, err
	}
	if sc.known < f.nodes {
		return nil, &ImpossibleError{fmt.Sprintf("%s needs %d nodes that take pods, or nobody is left; there are %d", f.Name, f.nodes, sc.known)}
	}
	if len(sc.nodes) < f.nodes {
		return nil, fmt.Errorf("%s needs %d nodes that take pods, or nobody is left; there are %d", f.Name, f.nodes, len(sc.nodes))
	}
	if s.Ground == nil {
		return sc, nil
	}
	status, err := s.Ground.Status(ctx)
	if err != nil {
		return nil, err
	}
	sc.ground = &status
	if zones := len(sc.zones()); zones < f.zones {
		return nil, &ImpossibleError{fmt.Sprintf("%s needs %d zones; region %s has %d", f.Name, f.zones, s.Region, zones)}
	}
	return sc, nil
}

func (sc *scene) lookAtCluster(ctx context.Context) (err error) {
	s := sc.site
	sc.deployment, err = workload.Get(ctx, s.Kube, s.Namespace, s.Service)
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("namespace %s has no Deployment %s; is the system applied", s.Namespace, s.Service)
	}
	if err != nil {
		return fmt.Errorf("look at Deployment %s: %w", s.Service, err)
	}
	selector, err := metav1.LabelSelectorAsSelector(sc.deployment.Spec.Selector)
	if err != nil {
		return fmt.Errorf("selector of Deployment %s: %w", s.Service, err)
	}
	sc.selector = selector.String()
	pods, err := sc.podsNow(ctx)
	if err != nil {
		return err
	}
	for _, p := range pods {
		if p.DeletionTimestamp == nil && podReady(&p) {
			sc.pods = append(sc.pods, p)
		}
	}
	if len(sc.pods) == 0 {
		return fmt.Errorf("no pod of %s is ready; see \"kubectl -n %s get pods\"", s.Service, s.Namespace)
	}
	nodes, err := s.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	sc.known = len(nodes.Items)
	for _, n := range nodes.Items {
		if !n.Spec.Unschedulable && nodeReady(&n) {
			sc.nodes = append(sc.nodes, n)
		}
	}
	slices.SortFunc(sc.nodes, func(a, b corev1.Node) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// podsNow are the pods of the Deployment, by name, those that are ending too.
func (sc *scene) podsNow(ctx context.Context) ([]corev1.Pod, error) {
	pods, err := listPods(ctx, sc.site.Kube, sc.site.Namespace, sc.selector)
	if err != nil {
		return nil, fmt.Errorf("list pods of %s: %w", sc.site.Service, err)
	}
	return pods, nil
}

// listPods gives pods by name.
func listPods(ctx context.Context, kube kubernetes.Interface, namespace, labels string) ([]corev1.Pod, error) {
	list, err := kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: labels})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return list.Items, nil
}

// replicas is how many the Deployment is to have.
func (sc *scene) replicas() int32 {
	if n := sc.deployment.Spec.Replicas; n != nil {
		return *n
	}
	return 1
}

// node is one that runs a ready pod of the service.
func (sc *scene) node() (string, error) {
	var names []string
	for _, n := range sc.nodes {
		if sc.podsOn(n.Name) > 0 {
			names = append(names, n.Name)
		}
	}
	if len(names) == 0 {
		return "", fmt.Errorf("no node that is in order runs a pod of %s", sc.site.Service)
	}
	return names[sc.dice.IntN(len(names))], nil
}

// podsOn counts the ready pods of the service on nodes.
func (sc *scene) podsOn(nodes ...string) (count int) {
	for _, p := range sc.pods {
		if slices.Contains(nodes, p.Spec.NodeName) {
			count++
		}
	}
	return count
}

func (sc *scene) zoneOf(node string) string {
	for _, n := range sc.nodes {
		if n.Name == node {
			return n.Labels[corev1.LabelTopologyZone]
		}
	}
	return ""
}

// pods in words: "1 of the 3 pods of vehicle".
func (sc *scene) share(nodes ...string) string {
	return fmt.Sprintf("%d of the %d ready pods of %s", sc.podsOn(nodes...), len(sc.pods), sc.site.Service)
}

// on is an event about a node.
func (sc *scene) on(node, state, text string) record.Event {
	return record.Event{Kind: record.Fault, Name: node, State: state, Node: node, Zone: sc.zoneOf(node), Text: text}
}

// States of a Fault event.
const (
	done   = "done"
	undone = "undone"
)

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func nodeReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// until asks again and again, and gives up with the last answer when ctx ends.
func until(ctx context.Context, what string, ask func(context.Context) error) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	last := errors.New("it was never asked")
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		if cut := ctx.Err(); cut == nil || !errors.Is(err, cut) {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w", what, context.Cause(ctx), last)
		case <-tick.C:
		}
	}
}
