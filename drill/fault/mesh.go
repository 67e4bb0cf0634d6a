package fault

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nines-ha/nines/drill/workload"
	"github.com/nines-ha/nines/ground/mesh"
	"github.com/nines-ha/nines/record"
)

const (
	istiodAway   = 15 * time.Second
	istiodLabels = "app=istiod"
	gatewayLabel = "istio=" + mesh.Ingress
	sidecar      = "istio-proxy"
)

func gatewayLoss(ctx context.Context, sc *scene) (*Injection, error) {
	pods, err := sc.podsOf(ctx, mesh.IngressNamespace, gatewayLabel)
	if err != nil {
		return nil, err
	}
	ready := readyOf(pods)
	if len(ready) == 0 {
		return nil, fmt.Errorf("no ingress gateway is ready; see \"kubectl -n %s get pods\"", mesh.IngressNamespace)
	}
	victim := ready[sc.dice.IntN(len(ready))]
	return &Injection{
		Touches: []string{fmt.Sprintf("delete pod %s, one of the %d ready ingress gateways, with no grace period", victim.Name, len(ready))},
		inject: func(ctx context.Context, tell func(record.Event)) error {
			tell(record.Event{
				Kind: record.Fault, Name: victim.Name, State: done, Node: victim.Spec.NodeName, Zone: sc.zoneOf(victim.Spec.NodeName),
				Text: "gateway " + victim.Name + " deleted with no grace period",
			})
			if err := sc.destroy(ctx, victim); err != nil {
				return err
			}
			return until(ctx, "wait for another gateway", func(ctx context.Context) error {
				now, err := sc.podsOf(ctx, mesh.IngressNamespace, gatewayLabel)
				if err == nil && len(readyOf(now)) < len(ready) {
					err = fmt.Errorf("%d of %d gateways are ready", len(readyOf(now)), len(ready))
				}
				return err
			})
		},
	}, nil
}

func istiodLoss(ctx context.Context, sc *scene) (*Injection, error) {
	return sc.withoutIstiod(ctx, nil, nil)
}

// injectorLoss asks for a restart in the middle of it: istiod is what puts the
// sidecar into a pod, when the pod is made.
func injectorLoss(ctx context.Context, sc *scene) (*Injection, error) {
	restart, err := rollingRestart(ctx, sc)
	if err != nil {
		return nil, err
	}
	old := map[types.UID]bool{}
	i, err := sc.withoutIstiod(ctx, func(ctx context.Context, tell func(record.Event)) error {
		pods, err := sc.podsNow(ctx)
		if err != nil {
			return err
		}
		for _, p := range pods {
			old[p.UID] = true
		}
		tell(sc.onService(done, "restart of "+sc.site.Service+" begun"))
		return workload.Restart(ctx, sc.site.Kube, sc.deployment, manager)
	}, func(ctx context.Context, tell func(record.Event)) error {
		err := until(ctx, "wait for the rollout of "+sc.site.Service, func(ctx context.Context) error { return sc.rolledOut(ctx, old) })
		if err != nil {
			return err
		}
		return sc.tellMeshed(ctx, tell)
	})
	if err != nil {
		return nil, err
	}
	i.Touches = slices.Insert(i.Touches, 1, "meanwhile "+restart.Touches[0])
	return i, nil
}

// withoutIstiod takes the control plane of the mesh away for a while. meanwhile
// is done when it is gone, after when it is back; either may be nil.
func (sc *scene) withoutIstiod(ctx context.Context, meanwhile, after action) (*Injection, error) {
	kube := sc.site.Kube
	list, err := kube.AppsV1().Deployments(mesh.System).List(ctx, metav1.ListOptions{LabelSelector: istiodLabels})
	if err != nil {
		return nil, fmt.Errorf("list Deployments of istiod: %w", err)
	}
	if len(list.Items) == 0 {
		return nil, fmt.Errorf("namespace %s has no Deployment of istiod", mesh.System)
	}
	var names []string
	i := &Injection{}
	for _, d := range list.Items {
		replicas := int32(1)
		if d.Spec.Replicas != nil {
			replicas = *d.Spec.Replicas
		}
		if replicas == 0 {
			return nil, fmt.Errorf("there are no replicas of Deployment %s already", d.Name)
		}
		names = append(names, d.Name)
		i.Heals = append(i.Heals, Heal{Do: "scale", Namespace: mesh.System, Name: d.Name, Replicas: replicas})
	}
	name := strings.Join(names, " and ")
	i.Touches = []string{
		fmt.Sprintf("scale Deployment %s to 0, and delete its pods with no grace period", name),
		fmt.Sprintf("scale it back after %s", istiodAway),
	}
	i.inject = func(ctx context.Context, tell func(record.Event)) error {
		tell(on(name, done, name+" deleted with no grace period, and kept away"))
		if err := sc.removeIstiod(ctx, names); err != nil {
			return err
		}
		if err := meanwhile.run(ctx, tell); err != nil {
			return err
		}
		if err := pause(ctx, istiodAway); err != nil {
			return err
		}
		for _, h := range i.Heals {
			if err := setReplicas(ctx, kube, h.Namespace, h.Name, h.Replicas); err != nil {
				return err
			}
		}
		tell(on(name, undone, name+" scaled back"))
		err := until(ctx, "wait for "+name, func(ctx context.Context) error {
			for _, n := range names {
				if _, err := completed(ctx, kube, mesh.System, n); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		return after.run(ctx, tell)
	}
	return i, nil
}

func (sc *scene) removeIstiod(ctx context.Context, names []string) error {
	for _, n := range names {
		if err := setReplicas(ctx, sc.site.Kube, mesh.System, n, 0); err != nil {
			return err
		}
	}
	return until(ctx, "wait for the end of istiod", func(ctx context.Context) error {
		pods, err := sc.podsOf(ctx, mesh.System, istiodLabels)
		if err != nil {
			return err
		}
		for _, p := range pods {
			if err := sc.destroy(ctx, p); err != nil {
				return err
			}
		}
		return nil
	})
}

// destroy deletes a pod with no grace period and returns when it is gone.
func (sc *scene) destroy(ctx context.Context, p corev1.Pod) error {
	pods := sc.site.Kube.CoreV1().Pods(p.Namespace)
	err := pods.Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0)), Preconditions: &metav1.Preconditions{UID: &p.UID}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete pod %s: %w", p.Name, err)
	}
	return until(ctx, "wait for the end of pod "+p.Name, func(ctx context.Context) error {
		now, err := pods.Get(ctx, p.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err), err == nil && now.UID != p.UID:
			return nil
		case err != nil:
			return err
		}
		return fmt.Errorf("pod %s is still there", p.Name)
	})
}

// tellMeshed tells of each pod of the service whether it is in the mesh.
func (sc *scene) tellMeshed(ctx context.Context, tell func(record.Event)) error {
	pods, err := sc.podsNow(ctx)
	if err != nil {
		return err
	}
	for _, p := range pods {
		state := record.Outside
		if hasSidecar(&p) {
			state = record.Inside
		}
		tell(record.Event{Kind: record.Mesh, Name: p.Name, State: state, Node: p.Spec.NodeName, Zone: sc.zoneOf(p.Spec.NodeName)})
	}
	return nil
}

// Meshed tells whether the ready pods of the service have sidecars, as far as the
// cluster tells. Some with and some without is an error.
func (s *Site) Meshed(ctx context.Context) (bool, error) {
	sc := &scene{site: s}
	if err := sc.lookAtCluster(ctx); err != nil {
		return false, err
	}
	inside := 0
	for _, p := range sc.pods {
		if hasSidecar(&p) {
			inside++
		}
	}
	if inside > 0 && inside < len(sc.pods) {
		return false, fmt.Errorf("%d of the %d ready pods of %s have a sidecar, and the others have none: restart it, so that all are in the mesh or none is", inside, len(sc.pods), s.Service)
	}
	return inside > 0, nil
}

// hasSidecar looks for a native sidecar, which is an init container that stays,
// and for one of the older form.
func hasSidecar(p *corev1.Pod) bool {
	return slices.ContainsFunc(slices.Concat(p.Spec.InitContainers, p.Spec.Containers), func(c corev1.Container) bool { return c.Name == sidecar })
}

func (sc *scene) podsOf(ctx context.Context, namespace, labels string) ([]corev1.Pod, error) {
	pods, err := listPods(ctx, sc.site.Kube, namespace, labels)
	if err != nil {
		return nil, fmt.Errorf("list pods of %s: %w", namespace, err)
	}
	return pods, nil
}

func readyOf(pods []corev1.Pod) (ready []corev1.Pod) {
	for _, p := range pods {
		if p.DeletionTimestamp == nil && podReady(&p) {
			ready = append(ready, p)
		}
	}
	return ready
}
