package watch

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kwatch "k8s.io/apimachinery/pkg/watch"

	"github.com/nines-ha/nines/record"
)

type pod struct {
	*corev1.Pod
	wasReady bool
	ends     map[string]bool // of containers that were told
}

func (w *Watch) pods(c *crew, selector string) source {
	api := w.Kube.CoreV1().Pods(c.namespace)
	return source{
		name: "pods of " + c.name,
		list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = selector
			return api.List(ctx, o)
		},
		watch: func(ctx context.Context, o metav1.ListOptions) (kwatch.Interface, error) {
			o.LabelSelector = selector
			return api.Watch(ctx, o)
		},
		all: func(b *book, items []runtime.Object, seen time.Duration) {
			there := map[string]bool{}
			for _, item := range items {
				there[item.(*corev1.Pod).Name] = true
				b.takePod(c, item.(*corev1.Pod), seen)
			}
			for name, p := range c.pods {
				if !there[name] {
					b.podGone(c, p.Pod, seen)
				}
			}
		},
		one:  func(b *book, item runtime.Object, seen time.Duration) { b.takePod(c, item.(*corev1.Pod), seen) },
		gone: func(b *book, item runtime.Object, seen time.Duration) { b.podGone(c, item.(*corev1.Pod), seen) },
	}
}

func (b *book) podEvent(p *corev1.Pod, seen time.Duration) record.Event {
	return record.Event{Seen: seen, Kind: record.Pod, Name: p.Name, Node: p.Spec.NodeName, Zone: b.zoneOf(p.Spec.NodeName)}
}

func (b *book) takePod(of *crew, now *corev1.Pod, seen time.Duration) {
	p, known := of.pods[now.Name]
	if known && p.UID != now.UID { // another one of the same name
		b.podGone(of, p.Pod, seen)
		known = false
	}
	if !known {
		p = &pod{ends: map[string]bool{}}
		of.pods[now.Name] = p
	}
	p.Pod = now
	for _, c := range now.Status.ContainerStatuses {
		for _, end := range []*corev1.ContainerStateTerminated{c.LastTerminationState.Terminated, c.State.Terminated} {
			if end == nil {
				continue
			}
			key := c.Name + " " + end.ContainerID + " " + end.FinishedAt.String()
			if known && !p.ends[key] {
				b.tell(b.ended(now, c.Name, end, seen), whole(end.FinishedAt.Time))
			}
			p.ends[key] = true
		}
	}
	e := b.podEvent(now, seen)
	state, when := b.podState(p)
	if state == "ended" {
		for _, c := range now.Status.ContainerStatuses {
			if c.State.Terminated != nil {
				e = b.ended(now, c.Name, c.State.Terminated, seen)
			}
		}
	}
	e.State = state
	if state == "terminating" {
		e.Reason, e.Text = disruption(now)
		if b.state(record.Pod, now.Name) == "ended" && !running(now) {
			return // its last container has ended: what is left is the object
		}
	}
	b.turn(e, when)
	p.wasReady = state == "ready" || state == "unready" && p.wasReady
}

func (b *book) podGone(of *crew, p *corev1.Pod, seen time.Duration) {
	if known, ok := of.pods[p.Name]; !ok || known.UID != p.UID {
		return
	}
	delete(of.pods, p.Name)
	e := b.podEvent(p, seen)
	e.State = "deleted"
	b.end(e)
}

func (b *book) ended(p *corev1.Pod, container string, end *corev1.ContainerStateTerminated, seen time.Duration) record.Event {
	e := b.podEvent(p, seen)
	e.State = "ended"
	e.Reason = fmt.Sprintf("exit code %d", end.ExitCode)
	if end.Reason != "" && end.Reason != "Error" && end.Reason != "Completed" {
		e.Reason = end.Reason
	}
	e.Text = fmt.Sprintf("container %s, exit code %d", container, end.ExitCode)
	return e
}

func (b *book) podState(p *pod) (string, instant) {
	ready, since := condition(p.Pod, corev1.PodReady)
	switch {
	case p.DeletionTimestamp != nil:
		when := p.DeletionTimestamp.Time // when the grace is over
		if p.DeletionGracePeriodSeconds != nil {
			when = when.Add(-time.Duration(*p.DeletionGracePeriodSeconds) * time.Second)
		}
		return "terminating", whole(when)
	case over(p.Pod), p.Status.Phase == corev1.PodRunning && !running(p.Pod):
		return "ended", lastEnd(p.Pod)
	case ready:
		return "ready", since
	case p.Status.Phase == corev1.PodRunning && p.wasReady && b.state(record.Pod, p.Name) != "ended":
		return "unready", since
	case p.Status.Phase == corev1.PodRunning:
		return "running", lastStart(p.Pod)
	}
	return "pending", whole(p.CreationTimestamp.Time)
}

func over(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
}

func running(p *corev1.Pod) bool {
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Running != nil {
			return true
		}
	}
	return false
}

func lastEnd(p *corev1.Pod) (when instant) {
	for _, c := range p.Status.ContainerStatuses {
		for _, end := range []*corev1.ContainerStateTerminated{c.State.Terminated, c.LastTerminationState.Terminated} {
			if end != nil && end.FinishedAt.After(when.Time) {
				when = whole(end.FinishedAt.Time)
			}
		}
	}
	return when
}

func lastStart(p *corev1.Pod) (when instant) {
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Running != nil && c.State.Running.StartedAt.After(when.Time) {
			when = whole(c.State.Running.StartedAt.Time)
		}
	}
	return when
}

func condition(p *corev1.Pod, kind corev1.PodConditionType) (bool, instant) {
	for _, c := range p.Status.Conditions {
		if c.Type == kind {
			return c.Status == corev1.ConditionTrue, whole(c.LastTransitionTime.Time)
		}
	}
	return false, instant{}
}

// disruption is why a pod is taken away, where Kubernetes says so.
func disruption(p *corev1.Pod) (reason, text string) {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			return c.Reason, c.Message
		}
	}
	return "", ""
}
