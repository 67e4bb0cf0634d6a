// Package workload is what runs a service: a Deployment, or a Rollout of Argo
// Rollouts read as if it were one, so that a drill need not care. Call Get; Scale
// and Restart change what it gives. It waits for nothing.
package workload

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"time"

	rollouts "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// RestartedAt is the annotation of a pod template that tells when its pods were
// last asked to be made anew.
const RestartedAt = "kubectl.kubernetes.io/restartedAt"

const rollout = "Rollout"

// Get is the Deployment of that name, or else the Rollout, whose pods of both
// versions count together. Its Kind says which. If there is neither, the error is
// that there is no Deployment.
func Get(ctx context.Context, kube kubernetes.Interface, namespace, name string) (*appsv1.Deployment, error) {
	d, err := kube.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		d.Kind = "Deployment"
		return d, nil
	}
	client := kube.Discovery().RESTClient()
	if client == nil || !apierrors.IsNotFound(err) { // a fake has none
		return nil, err
	}
	body, other := rolloutAt(client.Get(), namespace, name).Do(ctx).Raw()
	if apierrors.IsNotFound(other) {
		return nil, err
	}
	if other != nil {
		return nil, other
	}
	var r rollouts.Rollout
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("read Rollout %s: %w", name, err)
	}
	return asDeployment(&r), nil
}

func rolloutAt(request *rest.Request, namespace, name string) *rest.Request {
	return request.AbsPath(path.Join("/apis", rollouts.SchemeGroupVersion.String(), "namespaces", namespace, "rollouts", name))
}

func asDeployment(r *rollouts.Rollout) *appsv1.Deployment {
	// Its controller writes it as text, and nothing at first.
	seen, _ := strconv.ParseInt(r.Status.ObservedGeneration, 10, 64)
	d := &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: rollouts.SchemeGroupVersion.String(), Kind: rollout},
		ObjectMeta: r.ObjectMeta,
		Spec: appsv1.DeploymentSpec{
			Replicas: r.Spec.Replicas, Selector: r.Spec.Selector, Template: r.Spec.Template,
			MinReadySeconds: r.Spec.MinReadySeconds, Paused: r.Spec.Paused,
		},
		Status: appsv1.DeploymentStatus{
			ObservedGeneration: seen,
			Replicas:           r.Status.Replicas, UpdatedReplicas: r.Status.UpdatedReplicas,
			ReadyReplicas: r.Status.ReadyReplicas, AvailableReplicas: r.Status.AvailableReplicas,
		},
	}
	if r.Spec.RestartAt != nil {
		metav1.SetMetaDataAnnotation(&d.Spec.Template.ObjectMeta, RestartedAt, r.Spec.RestartAt.UTC().Format(time.RFC3339))
	}
	return d
}

// Scale sets the number of replicas. Manager is who does it, for Kubernetes.
func Scale(ctx context.Context, kube kubernetes.Interface, d *appsv1.Deployment, replicas int32, manager string) error {
	if err := patch(ctx, kube, d, fmt.Sprintf(`{"spec":{"replicas":%d}}`, replicas), manager); err != nil {
		return fmt.Errorf("scale %s %s: %w", d.Kind, d.Name, err)
	}
	return nil
}

// Restart has all pods made anew: of a Deployment as its strategy says, of a
// Rollout by evicting one after the other, since another template would be another
// version.
func Restart(ctx context.Context, kube kubernetes.Interface, d *appsv1.Deployment, manager string) error {
	now := time.Now().UTC()
	body := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{%q:%q}}}}}`, RestartedAt, now.Format(time.RFC3339Nano))
	if d.Kind == rollout {
		body = fmt.Sprintf(`{"spec":{"restartAt":%q}}`, now.Format(time.RFC3339))
	}
	if err := patch(ctx, kube, d, body, manager); err != nil {
		return fmt.Errorf("restart %s %s: %w", d.Kind, d.Name, err)
	}
	return nil
}

func patch(ctx context.Context, kube kubernetes.Interface, d *appsv1.Deployment, body, manager string) error {
	options := metav1.PatchOptions{FieldManager: manager}
	if d.Kind == rollout {
		return rolloutAt(kube.Discovery().RESTClient().Patch(types.MergePatchType), d.Namespace, d.Name).
			Param("fieldManager", options.FieldManager).Body([]byte(body)).Do(ctx).Error()
	}
	_, err := kube.AppsV1().Deployments(d.Namespace).Patch(ctx, d.Name, types.StrategicMergePatchType, []byte(body), options)
	return err
}
