package fault

import (
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/nines-ha/nines/drill/workload"
	"github.com/nines-ha/nines/record"
)

// manager is who changes fields, for Kubernetes.
const manager = "nines-drill"

func rollingRestart(_ context.Context, sc *scene) (*Injection, error) {
	name := sc.site.Service
	return &Injection{
		Touches: []string{fmt.Sprintf("restart %s %s: all of its %d pods are replaced, %s", sc.deployment.Kind, name, sc.replicas(), sc.replacing())},
		inject: func(ctx context.Context, tell func(record.Event)) error {
			pods, err := sc.podsNow(ctx)
			if err != nil {
				return err
			}
			old := map[types.UID]bool{}
			for _, p := range pods {
				old[p.UID] = true
			}
			tell(sc.onService(done, "restart of "+name+" begun"))
			if err := workload.Restart(ctx, sc.site.Kube, sc.deployment, manager); err != nil {
				return err
			}
			return until(ctx, "wait for the rollout of "+name, func(ctx context.Context) error { return sc.rolledOut(ctx, old) })
		},
	}, nil
}

func (sc *scene) replacing() string {
	if sc.deployment.Kind == "Deployment" {
		return "as its strategy says"
	}
	return "evicted one after the other"
}

func (sc *scene) onService(state, text string) record.Event {
	return record.Event{Kind: record.Fault, Name: sc.site.Service, State: state, Text: text}
}

// rolledOut says nil when all replicas are new and available, and no old pod is
// left, not even one that is ending.
func (sc *scene) rolledOut(ctx context.Context, old map[types.UID]bool) error {
	if _, err := completed(ctx, sc.site.Kube, sc.site.Namespace, sc.site.Service); err != nil {
		return err
	}
	pods, err := sc.podsNow(ctx)
	if err != nil {
		return err
	}
	for _, p := range pods {
		if old[p.UID] {
			return fmt.Errorf("pod %s is still there", p.Name)
		}
	}
	return nil
}

// completed is a Deployment whose replicas are all new and available; else the error
// says what is missing.
func completed(ctx context.Context, kube kubernetes.Interface, namespace, name string) (*appsv1.Deployment, error) {
	d, err := workload.Get(ctx, kube, namespace, name)
	if err != nil {
		return nil, err
	}
	return d, complete(d)
}

func complete(d *appsv1.Deployment) error {
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	switch s := d.Status; {
	case s.ObservedGeneration < d.Generation:
		return fmt.Errorf("the change has not been seen yet")
	case s.UpdatedReplicas < want || s.Replicas != s.UpdatedReplicas:
		return fmt.Errorf("%d of %d replicas are new, of %d", s.UpdatedReplicas, want, s.Replicas)
	case s.AvailableReplicas < want:
		return fmt.Errorf("%d of %d replicas are available", s.AvailableReplicas, want)
	}
	return nil
}

// scaleDown takes the bounds of an autoscaler down too: otherwise it would give
// the replicas back at once.
func scaleDown(ctx context.Context, sc *scene) (*Injection, error) {
	s, have := sc.site, sc.replicas()
	want := have - max(1, have/3)
	if want < 1 {
		return nil, fmt.Errorf("%s has one replica; removing it would be removing the service", s.Service)
	}
	scaler, err := sc.autoscaler(ctx)
	if err != nil {
		return nil, err
	}
	i := &Injection{
		Touches: []string{fmt.Sprintf("scale %s %s from %d to %d replicas", sc.deployment.Kind, s.Service, have, want)},
		Heals:   []Heal{{Do: "scale", Namespace: s.Namespace, Name: s.Service, Replicas: have}},
	}
	if scaler != nil {
		least := int32(1)
		if scaler.Spec.MinReplicas != nil {
			least = *scaler.Spec.MinReplicas
		}
		i.Touches = append([]string{fmt.Sprintf("let HorizontalPodAutoscaler %s want at most %d replicas, so that it does not undo the next step", scaler.Name, want)}, i.Touches...)
		i.Heals = append([]Heal{{Do: "autoscale", Namespace: s.Namespace, Name: scaler.Name, Least: least, Replicas: scaler.Spec.MaxReplicas}}, i.Heals...)
	}
	i.inject = func(ctx context.Context, tell func(record.Event)) error {
		if scaler != nil {
			least := i.Heals[0].Least
			if err := setBounds(ctx, s.Kube, s.Namespace, scaler.Name, min(least, want), want); err != nil {
				return err
			}
		}
		tell(sc.onService(done, fmt.Sprintf("%s scaled from %d to %d replicas", s.Service, have, want)))
		if err := setReplicas(ctx, s.Kube, s.Namespace, s.Service, want); err != nil {
			return err
		}
		return until(ctx, "wait for the end of the removed pods", func(ctx context.Context) error {
			pods, err := sc.podsNow(ctx)
			if err != nil {
				return err
			}
			if there := unfinished(pods); there > int(want) {
				return fmt.Errorf("%d pods are still there", there)
			}
			return nil
		})
	}
	return i, nil
}

// unfinished leaves out what only a record is left of, as of an evicted pod.
func unfinished(pods []corev1.Pod) (count int) {
	for _, p := range pods {
		finished := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		if !finished || p.DeletionTimestamp != nil {
			count++
		}
	}
	return count
}

// autoscaler is the one that owns the number of replicas, if any.
func (sc *scene) autoscaler(ctx context.Context) (*autoscalingv2.HorizontalPodAutoscaler, error) {
	list, err := sc.site.Kube.AutoscalingV2().HorizontalPodAutoscalers(sc.site.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list autoscalers: %w", err)
	}
	for _, a := range list.Items {
		if t := a.Spec.ScaleTargetRef; t.Kind == sc.deployment.Kind && t.Name == sc.site.Service {
			return &a, nil
		}
	}
	return nil, nil
}

func setReplicas(ctx context.Context, kube kubernetes.Interface, namespace, name string, replicas int32) error {
	d, err := workload.Get(ctx, kube, namespace, name)
	if err != nil {
		return fmt.Errorf("scale %s: %w", name, err)
	}
	return workload.Scale(ctx, kube, d, replicas, manager)
}

// setBounds leaves an autoscaler that is gone alone.
func setBounds(ctx context.Context, kube kubernetes.Interface, namespace, name string, least, most int32) error {
	patch, err := json.Marshal(map[string]any{"spec": map[string]int32{"minReplicas": least, "maxReplicas": most}})
	if err != nil {
		return err
	}
	_, err = kube.AutoscalingV2().HorizontalPodAutoscalers(namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: manager})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("set the bounds of autoscaler %s: %w", name, err)
	}
	return nil
}
