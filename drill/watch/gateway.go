package watch

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/nines-ha/nines/record"
)

// gatewaySelector finds the gateway's pods, and its deployments, which have names
// of their own: AKS puts the revision of the mesh into them, and two stand side by
// side while one replaces the other.
func (w *Watch) gatewaySelector(ctx context.Context) (labels.Selector, error) {
	service, err := w.Kube.CoreV1().Services(w.Gateway.Namespace).Get(ctx, w.Gateway.Service, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("find the gateway: %w", err)
	}
	if len(service.Spec.Selector) == 0 {
		return nil, errors.New("find the gateway: the Service " + service.Namespace + "/" + service.Name + " selects no pods; name the one in front of the gateway's")
	}
	return labels.SelectorFromSet(service.Spec.Selector), nil
}

func (w *Watch) askGateway(ctx context.Context, selector labels.Selector) error {
	began := time.Now()
	list, err := w.Kube.AppsV1().Deployments(w.Gateway.Namespace).List(ctx, metav1.ListOptions{})
	var found []*appsv1.Deployment
	if err == nil {
		for i := range list.Items {
			if selector.Matches(labels.Set(list.Items[i].Spec.Template.Labels)) {
				found = append(found, &list.Items[i])
			}
		}
	}
	posted := w.post(ctx, func(b *book, _ time.Duration) {
		if err == nil {
			b.gateway.deployments, b.gateway.asked = found, began
		}
	})
	if err == nil {
		err = posted
	}
	return err
}

// DescribeGateway is what the gateway is now; nil without one.
func (w *Watch) DescribeGateway() *record.Gateway {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.book.gateway == nil {
		return nil
	}
	return &record.Gateway{Namespace: w.book.gateway.namespace, Name: w.book.gateway.name, Replicas: w.book.gateway.wanted()}
}
