package watch

import (
	"context"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kwatch "k8s.io/apimachinery/pkg/watch"

	"github.com/nines-ha/nines/record"
)

// A node is what Kubernetes believes of a machine.
type node struct{ state, zone string }

func (w *Watch) nodes() source {
	api := w.Kube.CoreV1().Nodes()
	return source{
		name:  "nodes",
		list:  func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return api.List(ctx, o) },
		watch: func(ctx context.Context, o metav1.ListOptions) (kwatch.Interface, error) { return api.Watch(ctx, o) },
		all: func(b *book, items []runtime.Object, seen time.Duration) {
			there := map[string]bool{}
			for _, item := range items {
				there[item.(*corev1.Node).Name] = true
				b.takeNode(item.(*corev1.Node), seen)
			}
			for _, name := range sorted(b.nodes) {
				if !there[name] {
					b.nodeGone(name, seen)
				}
			}
		},
		one:  func(b *book, item runtime.Object, seen time.Duration) { b.takeNode(item.(*corev1.Node), seen) },
		gone: func(b *book, item runtime.Object, seen time.Duration) { b.nodeGone(item.(*corev1.Node).Name, seen) },
	}
}

func (b *book) takeNode(n *corev1.Node, seen time.Duration) {
	now := node{state: "unknown", zone: n.Labels[corev1.LabelTopologyZone]}
	e := record.Event{Seen: seen, Kind: record.NodeKind, Name: n.Name, Node: n.Name, Zone: now.zone}
	var when instant
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		when = whole(c.LastTransitionTime.Time)
		switch c.Status {
		case corev1.ConditionTrue:
			now.state = "ready"
		case corev1.ConditionFalse:
			now.state, e.Reason, e.Text = "not-ready", c.Reason, c.Message
		default:
			e.Reason, e.Text = c.Reason, c.Message
		}
	}
	if now.state == "ready" && n.Spec.Unschedulable {
		now.state, when = "cordoned", instant{}
	}
	b.nodes[n.Name] = now
	e.State = now.state
	b.turn(e, when)
}

func (b *book) nodeGone(name string, seen time.Duration) {
	n, known := b.nodes[name]
	if !known {
		return
	}
	delete(b.nodes, name)
	b.end(record.Event{Seen: seen, Kind: record.NodeKind, Name: name, State: "deleted", Node: name, Zone: n.zone})
}

// Nodes are those of the cluster now, by name.
func (w *Watch) Nodes() []record.Node {
	w.mu.Lock()
	defer w.mu.Unlock()
	var nodes []record.Node
	for _, name := range sorted(w.book.nodes) {
		nodes = append(nodes, record.Node{Name: name, Zone: w.book.nodes[name].zone})
	}
	return nodes
}

func sorted[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }
