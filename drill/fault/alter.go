package fault

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/nines-ha/nines/drill/workload"
)

const (
	injectorLabels = "app=sidecar-injector"

	// alterWait is how long the platform may take to become another: a gateway
	// that leaves goes on serving for a while.
	alterWait = 3 * time.Minute
)

// Alter makes a known-bad platform. What is wrong with it is said as Heals are, in
// steps that make things so: "scale", of a Deployment, and "failurePolicy", of the
// webhooks that give pods their sidecars. undo makes all of it as it is now; give it
// to a Healer before do is called, which returns when the platform is as it should.
func Alter(ctx context.Context, s *Site, steps []Heal) (undo []Heal, do func(context.Context) error, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	var all []Heal
	for _, h := range steps {
		made, back, err := resolve(ctx, s, h)
		if err != nil {
			return nil, nil, err
		}
		all, undo = append(all, made...), append(undo, back...)
	}
	m := &mender{access: s.Access, kube: s.Kube, log: slog.New(slog.DiscardHandler)}
	return undo, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, alterWait)
		defer cancel()
		for _, h := range all {
			if _, err := m.step(ctx, h); err != nil {
				return fmt.Errorf("%s: %w", h, err)
			}
			if h.Do != "scale" {
				continue
			}
			if err := until(ctx, h.String(), func(ctx context.Context) error { return scaled(ctx, s.Kube, h) }); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// resolve gives a step with all that it is about, and what undoes it.
func resolve(ctx context.Context, s *Site, h Heal) (made, undo []Heal, err error) {
	switch h.Do {
	case "scale":
		d, err := workload.Get(ctx, s.Kube, h.Namespace, h.Name)
		if err != nil {
			return nil, nil, fmt.Errorf("look at Deployment %s: %w", h.Name, err)
		}
		now := int32(1)
		if d.Spec.Replicas != nil {
			now = *d.Spec.Replicas
		}
		if now == h.Replicas {
			return nil, nil, fmt.Errorf("there are %d replicas of Deployment %s/%s already", now, h.Namespace, h.Name)
		}
		back := h
		back.Replicas = now
		return []Heal{h}, []Heal{back}, nil
	case "failurePolicy":
		list, err := s.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{LabelSelector: injectorLabels})
		if err != nil {
			return nil, nil, fmt.Errorf("list the webhooks of the injector: %w", err)
		}
		for _, c := range list.Items {
			for _, w := range c.Webhooks {
				one := Heal{Do: h.Do, Name: c.Name, Webhook: w.Name, Policy: h.Policy}
				back := one
				if back.Policy = policyOf(w); back.Policy == h.Policy {
					continue
				}
				made, undo = append(made, one), append(undo, back)
			}
		}
		if len(made) == 0 {
			return nil, nil, fmt.Errorf("no webhook gives pods a sidecar with another failure policy than %s", h.Policy)
		}
		// While nobody had to, pods may have been made without.
		return made, append(undo, Heal{Do: "enmesh", Namespace: s.Namespace, Name: s.Service}), nil
	}
	return nil, nil, fmt.Errorf("nobody knows how to alter a platform by %s", h.Do)
}

// policyOf is a webhook's, as Kubernetes takes it.
func policyOf(w admissionv1.MutatingWebhook) string {
	if w.FailurePolicy == nil {
		return string(admissionv1.Fail)
	}
	return string(*w.FailurePolicy)
}

// scaled says nil when there are as many pods as are wanted, and no others that are
// still leaving.
func scaled(ctx context.Context, kube kubernetes.Interface, h Heal) error {
	d, err := completed(ctx, kube, h.Namespace, h.Name)
	if err != nil {
		return err
	}
	pods, err := podsOfDeployment(ctx, kube, h.Namespace, d.Spec.Selector)
	if err != nil {
		return err
	}
	if there := unfinished(pods); there > int(h.Replicas) {
		return fmt.Errorf("%d pods are still there", there)
	}
	return nil
}

func podsOfDeployment(ctx context.Context, kube kubernetes.Interface, namespace string, selector *metav1.LabelSelector) ([]corev1.Pod, error) {
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return nil, err
	}
	return listPods(ctx, kube, namespace, s.String())
}

func (m *mender) failurePolicy(ctx context.Context, h Heal) (changed bool, err error) {
	configurations := m.kube.AdmissionregistrationV1().MutatingWebhookConfigurations()
	now, err := configurations.Get(ctx, h.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(now.Webhooks, func(w admissionv1.MutatingWebhook) bool { return w.Name == h.Webhook })
	if i < 0 || policyOf(now.Webhooks[i]) == h.Policy {
		return false, nil
	}
	patch, err := json.Marshal(map[string]any{"webhooks": []any{map[string]string{"name": h.Webhook, "failurePolicy": h.Policy}}})
	if err != nil {
		return false, err
	}
	_, err = configurations.Patch(ctx, h.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: manager})
	return err == nil, err
}

// enmesh restarts a Deployment if a pod of it is outside the mesh that was made
// after its last restart: those before it are leaving already.
func (m *mender) enmesh(ctx context.Context, h Heal) (changed bool, err error) {
	d, err := workload.Get(ctx, m.kube, h.Namespace, h.Name)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	pods, err := podsOfDeployment(ctx, m.kube, h.Namespace, d.Spec.Selector)
	if err != nil {
		return false, err
	}
	// Without a restart it is the zero time, which is before any pod.
	restarted, _ := time.Parse(time.RFC3339Nano, d.Spec.Template.Annotations[workload.RestartedAt])
	stays := func(p corev1.Pod) bool {
		return p.DeletionTimestamp == nil && !hasSidecar(&p) && !p.CreationTimestamp.Time.Before(restarted.Truncate(time.Second))
	}
	if !slices.ContainsFunc(pods, stays) {
		return false, nil
	}
	err = workload.Restart(ctx, m.kube, d, manager)
	return err == nil, err
}
