package fault

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/ground/mesh"
	"github.com/nines-ha/nines/record"
)

// A stranger is a pod that does nothing, in a namespace of the drill's own: a place
// in the cluster from which nobody has declared a call.
type stranger struct {
	namespace string
	meshed    bool // with a sidecar, and so with an identity of the mesh
}

var (
	outsider  = stranger{"nines-outside", false}
	foreigner = stranger{"nines-stranger", true}
)

const (
	strangerPod   = "stranger"
	ownerLabel    = "app.kubernetes.io/managed-by"
	strangersWait = 90 * time.Second
)

func (st stranger) heal() Heal { return Heal{Do: "remove", Name: st.namespace} }

func (st stranger) String() string {
	if st.meshed {
		return "a pod in the mesh"
	}
	return "a pod outside the mesh"
}

// free says that the namespace is not somebody else's.
func (st stranger) free(ctx context.Context, kube kubernetes.Interface) error {
	now, err := kube.CoreV1().Namespaces().Get(ctx, st.namespace, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("look at namespace %s: %w", st.namespace, err)
	case now.Labels[ownerLabel] != manager:
		return &ImpossibleError{fmt.Sprintf("namespace %s is there already, and not a drill's", st.namespace)}
	}
	return nil
}

// strangers makes them, and returns when all are ready.
func (sc *scene) strangers(all ...stranger) action {
	return func(ctx context.Context, tell func(record.Event)) error {
		ctx, cancel := context.WithTimeout(ctx, strangersWait)
		defer cancel()
		for _, st := range all {
			tell(on(st.namespace, done, fmt.Sprintf("namespace %s made, with %s", st.namespace, st)))
			if err := st.make(ctx, sc.site.Kube); err != nil {
				return err
			}
		}
		for _, st := range all {
			err := until(ctx, "wait for pod "+strangerPod+" in "+st.namespace, func(ctx context.Context) error {
				p, err := sc.find(ctx, st)
				if err == nil && !podReady(&p) {
					err = errors.New("it is not ready")
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// find is the stranger's pod as it is now.
func (sc *scene) find(ctx context.Context, st stranger) (corev1.Pod, error) {
	p, err := sc.site.Kube.CoreV1().Pods(st.namespace).Get(ctx, strangerPod, metav1.GetOptions{})
	switch {
	case err != nil:
		return corev1.Pod{}, fmt.Errorf("look at pod %s in %s: %w", strangerPod, st.namespace, err)
	case hasSidecar(p) != st.meshed:
		return *p, fmt.Errorf("pod %s in %s was to be %s, and is not", strangerPod, st.namespace, st)
	}
	return *p, nil
}

// make begins anew where a drill that was killed has left one.
func (st stranger) make(ctx context.Context, kube kubernetes.Interface) error {
	if _, err := removeNamespace(ctx, kube, st.namespace); err != nil {
		return err
	}
	labels := map[string]string{ownerLabel: manager, "pod-security.kubernetes.io/enforce": "restricted"}
	if st.meshed {
		labels["istio.io/rev"] = mesh.Revision
	}
	own := metav1.CreateOptions{FieldManager: manager}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: st.namespace, Labels: labels}}
	if _, err := kube.CoreV1().Namespaces().Create(ctx, namespace, own); err != nil {
		return fmt.Errorf("make namespace %s: %w", st.namespace, err)
	}
	// Its service account comes a moment later, and without one there is no pod.
	return until(ctx, "make pod "+strangerPod+" in "+st.namespace, func(ctx context.Context) error {
		_, err := kube.CoreV1().Pods(st.namespace).Create(ctx, st.pod(), own)
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
}

func (st stranger) pod() *corev1.Pod {
	const nobody = 65535
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: st.namespace, Name: strangerPod, Labels: map[string]string{ownerLabel: manager}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64(1)),
			AutomountServiceAccountToken:  new(false),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: new(true), RunAsUser: new(int64(nobody)), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: strangerPod, Image: ground.IdleImage,
				Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1m"), corev1.ResourceMemory: resource.MustParse("4Mi")},
					Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("32Mi")},
				},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}

// removeNamespace removes one that a drill has made, with all that is in it, and
// returns when it is gone. Somebody else's is left alone.
func removeNamespace(ctx context.Context, kube kubernetes.Interface, name string) (changed bool, err error) {
	namespaces := kube.CoreV1().Namespaces()
	now, err := namespaces.Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, err
	case now.Labels[ownerLabel] != manager:
		return false, nil
	}
	if now.DeletionTimestamp == nil {
		changed = true
		err := namespaces.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &now.UID}})
		if err != nil && !apierrors.IsNotFound(err) {
			return false, fmt.Errorf("remove namespace %s: %w", name, err)
		}
	}
	return changed, until(ctx, "wait for the end of namespace "+name, func(ctx context.Context) error {
		left, err := namespaces.Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err), err == nil && left.UID != now.UID:
			return nil
		case err != nil:
			return err
		}
		return fmt.Errorf("namespace %s is still there", name)
	})
}
