package watch

import (
	"slices"
	"strconv"
	"testing"
	"time"

	rollouts "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A service may be a Rollout: it is in order when one version has all replicas.
func TestARolloutIsAWorkload(t *testing.T) {
	a, kube := newAPI(t)
	small(a, before(time.Minute))
	a.remove(deployPath, "vehicle")
	rollout := func(seen int, replicas, updated, available int32) {
		labels := map[string]string{"app": "vehicle"}
		a.put("/apis/argoproj.io/v1alpha1/namespaces/fleet/rollouts", &rollouts.Rollout{
			TypeMeta:   metav1.TypeMeta{APIVersion: "argoproj.io/v1alpha1", Kind: "Rollout"},
			ObjectMeta: metav1.ObjectMeta{Name: "vehicle", Namespace: "fleet", Generation: 2},
			Spec: rollouts.RolloutSpec{
				Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}},
			},
			Status: rollouts.RolloutStatus{ObservedGeneration: strconv.Itoa(seen), Replicas: replicas, UpdatedReplicas: updated, ReadyReplicas: replicas, AvailableReplicas: available},
		})
	}
	rollout(2, 2, 2, 2)
	a.front(1)
	w := &Watch{Config: Config{Kube: kube}}
	start(t, w)
	if err := w.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, _, err := w.Describe(t.Context()); err != nil || s.Replicas != 2 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, c := range []struct {
		seen                         int
		replicas, updated, available int32
		want                         string
	}{
		{1, 2, 2, 2, "deployment vehicle has changed, and nobody has looked at it yet"},
		{2, 3, 1, 3, "deployment vehicle has updated 1 of 2 replicas"},
		{2, 4, 2, 4, "deployment vehicle has 4 replicas, and 2 are wanted"},
		{2, 2, 2, 1, "deployment vehicle has 1 of 2 replicas available"},
	} {
		rollout(c.seen, c.replicas, c.updated, c.available)
		eventually(t, c.want, func() bool { return slices.Contains(w.Unsteady(), c.want) })
	}
}
