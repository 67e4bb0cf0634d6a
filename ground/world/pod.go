package world

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nines-ha/nines/ground/node"
)

// asked reads what is to be done in a pod of a region. Where that cannot be, it has
// been answered.
func asked[T interface{ Validate() error }](w *World, rw http.ResponseWriter, req *http.Request) (r *region, what T, ok bool) {
	r, err := w.region(req.PathValue("region"))
	if err != nil {
		answer(rw, err)
		return nil, what, false
	}
	if err := json.NewDecoder(http.MaxBytesReader(rw, req.Body, 64<<10)).Decode(&what); err != nil {
		http.Error(rw, "body: "+err.Error(), http.StatusBadRequest)
		return nil, what, false
	}
	if err := what.Validate(); err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return nil, what, false
	}
	return r, what, true
}

// holderOf is a pod with a network of its own, and the process that holds it.
func (r *region) holderOf(ctx context.Context, namespace, name string) (pod *corev1.Pod, pid int, err error) {
	pod, err = r.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, 0, unknown("region %s has no pod %s/%s", r.spec.Name, namespace, name)
	case err != nil:
		return nil, 0, err
	case pod.Spec.HostNetwork:
		return nil, 0, fmt.Errorf("pod %s/%s is in the network of its node, which others are in too", namespace, name)
	}
	pid, err = r.processOf(pod)
	return pod, pid, err
}

// processOf finds a process of a pod on its node.
func (r *region) processOf(pod *corev1.Pod) (pid int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.nodes {
		if m.name != pod.Spec.NodeName {
			continue
		}
		if m.Node == nil {
			return 0, fmt.Errorf("node %s is deleted", m.name)
		}
		pid, err := m.Pod(string(pod.UID))
		if errors.Is(err, node.ErrNoPod) {
			return 0, fmt.Errorf("pod %s/%s does not run on %s", pod.Namespace, pod.Name, m.name)
		}
		return pid, err
	}
	return 0, unknown("pod %s/%s is on no node of region %s", pod.Namespace, pod.Name, r.spec.Name)
}
