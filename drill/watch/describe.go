package watch

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/nines-ha/nines/drill/workload"
	"github.com/nines-ha/nines/record"
)

// Describe asks what the service is now, and gives the cluster's nodes by name.
func (w *Watch) Describe(ctx context.Context) (record.Service, []record.Node, error) {
	s, err := w.describe(ctx)
	if err != nil {
		return record.Service{}, nil, fmt.Errorf("describe %s/%s: %w", w.Namespace, w.Service, err)
	}
	return s, w.Nodes(), nil
}

func (w *Watch) describe(ctx context.Context) (record.Service, error) {
	none := record.Service{}
	d, err := workload.Get(ctx, w.Kube, w.Namespace, w.Service)
	if err != nil {
		return none, err
	}
	service, err := w.Kube.CoreV1().Services(w.Namespace).Get(ctx, w.Service, metav1.GetOptions{})
	if err != nil {
		return none, err
	}
	budgets, err := w.Kube.PolicyV1().PodDisruptionBudgets(w.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return none, err
	}
	least, err := least(d, budgets.Items)
	if err != nil {
		return none, err
	}
	return record.Service{
		Namespace: w.Namespace, Name: w.Service, Address: address(service),
		Replicas: int(wanted(d)), Least: least, Version: version(d),
	}, nil
}

// address is the service's front door; "" when it has none.
func address(s *corev1.Service) string {
	if len(s.Status.LoadBalancer.Ingress) == 0 || len(s.Spec.Ports) == 0 {
		return ""
	}
	host := s.Status.LoadBalancer.Ingress[0].IP
	if host == "" {
		host = s.Status.LoadBalancer.Ingress[0].Hostname
	}
	return net.JoinHostPort(host, strconv.Itoa(int(s.Spec.Ports[0].Port)))
}

// least is how many replicas evictions must leave, by the strictest budget;
// 0 without one. Kubernetes rounds both kinds of percentages up.
func least(d *appsv1.Deployment, budgets []policyv1.PodDisruptionBudget) (int, error) {
	replicas, most := int(wanted(d)), 0
	for _, b := range budgets {
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err != nil {
			return 0, fmt.Errorf("disruption budget %s: %w", b.Name, err)
		}
		if !selector.Matches(labels.Set(d.Spec.Template.Labels)) {
			continue
		}
		keeps := 0
		switch {
		case b.Spec.MinAvailable != nil:
			keeps, err = intstr.GetScaledValueFromIntOrPercent(b.Spec.MinAvailable, replicas, true)
		case b.Spec.MaxUnavailable != nil:
			keeps, err = intstr.GetScaledValueFromIntOrPercent(b.Spec.MaxUnavailable, replicas, true)
			keeps = replicas - keeps
		}
		if err != nil {
			return 0, fmt.Errorf("disruption budget %s: %w", b.Name, err)
		}
		most = max(most, keeps)
	}
	return most, nil
}

// version is the template's label, or the image's tag.
func version(d *appsv1.Deployment) string {
	if v := d.Spec.Template.Labels["app.kubernetes.io/version"]; v != "" {
		return v
	}
	for _, c := range d.Spec.Template.Spec.Containers {
		image, _, _ := strings.Cut(c.Image, "@")
		if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
			return image[i+1:]
		}
	}
	return ""
}
