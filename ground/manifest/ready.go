package manifest

import (
	"cmp"
	"context"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
)

// Ready says nil when every workload among the objects has all its replicas up to
// date and ready, and otherwise which is not yet. It does not wait for a
// Deployment to call them available, which minReadySeconds delays. For a Rollout it
// waits, since what it has besides replicas, steps and weights, only its controller
// can tell.
func (s *Set) Ready(ctx context.Context, objects []*Object) error {
	for _, o := range objects {
		switch o.GetKind() {
		case "Deployment", "StatefulSet", "DaemonSet", "Rollout":
		default:
			continue
		}
		resource, err := s.resource(refer(o))
		if err != nil {
			return err
		}
		live, err := resource.Get(ctx, o.GetName(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		if err := ready(live); err != nil {
			return fmt.Errorf("%w%s", err, s.complaint(ctx, live))
		}
	}
	return nil
}

func ready(o *Object) error {
	if o.GetKind() == "Rollout" {
		return healthy(o)
	}
	number := func(path ...string) int64 {
		n, _, _ := unstructured.NestedInt64(o.Object, path...)
		return n
	}
	want, has, current := number("spec", "replicas"), number("status", "readyReplicas"), number("status", "updatedReplicas")
	if o.GetKind() == "DaemonSet" {
		want, has, current = number("status", "desiredNumberScheduled"), number("status", "numberReady"), number("status", "updatedNumberScheduled")
	}
	if seen := number("status", "observedGeneration"); seen < o.GetGeneration() || has < want || current < want {
		return fmt.Errorf("%s %s/%s: %d of %d replicas ready", o.GetKind(), o.GetNamespace(), o.GetName(), min(has, current), want)
	}
	return nil
}

// healthy says nil when a Rollout's controller has seen all of it and calls it
// Healthy: one version, which answers everything, and nothing left of another.
func healthy(o *Object) error {
	text := func(field string) string {
		s, _, _ := unstructured.NestedString(o.Object, "status", field)
		return s
	}
	// The controller writes it as text.
	if seen, err := strconv.ParseInt(text("observedGeneration"), 10, 64); err != nil || seen < o.GetGeneration() {
		return fmt.Errorf("%s %s/%s: its controller has not seen it yet", o.GetKind(), o.GetNamespace(), o.GetName())
	}
	if phase := text("phase"); phase != "Healthy" {
		return fmt.Errorf("%s %s/%s: %s: %s", o.GetKind(), o.GetNamespace(), o.GetName(), cmp.Or(phase, "no phase yet"), cmp.Or(text("message"), "nothing is said"))
	}
	return nil
}

// complaint is what keeps a pod of a workload from running, if a container says.
func (s *Set) complaint(ctx context.Context, workload *Object) string {
	selector, _, _ := unstructured.NestedStringMap(workload.Object, "spec", "selector", "matchLabels")
	pods, err := s.typed.CoreV1().Pods(workload.GetNamespace()).List(ctx, metav1.ListOptions{LabelSelector: labels.Set(selector).String(), Limit: 50})
	if err != nil {
		return ""
	}
	for _, pod := range pods.Items {
		for _, c := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
			if w := c.State.Waiting; w != nil && w.Message != "" {
				return fmt.Sprintf("; pod %s: %s: %s", pod.Name, w.Reason, w.Message)
			}
			if t := c.LastTerminationState.Terminated; t != nil && !c.Ready {
				return fmt.Sprintf("; pod %s: container %s ended with exit code %d (%s), see \"kubectl -n %s logs -p %s\"", pod.Name, c.Name, t.ExitCode, t.Reason, pod.Namespace, pod.Name)
			}
		}
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
				return fmt.Sprintf("; pod %s cannot be placed: %s", pod.Name, condition.Message)
			}
		}
	}
	return ""
}
