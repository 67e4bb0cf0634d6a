package manifest

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Ready says nil when every workload among the objects has all its replicas up to
// date and ready, and otherwise which is not yet. It does not wait for a
// Deployment to call them available, which minReadySeconds delays.
func (s *Set) Ready(ctx context.Context, objects []*Object) error {
	for _, o := range objects {
		switch o.GetKind() {
		case "Deployment", "StatefulSet", "DaemonSet":
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
			return err
		}
	}
	return nil
}

func ready(o *Object) error {
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
