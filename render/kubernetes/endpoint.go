package kubernetes

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/nines-ha/nines/system"
)

const (
	httpPort  = "http"
	adminPort = "admin"

	probeInterval = "service.beta.kubernetes.io/azure-load-balancer-health-probe-interval"
	probeCount    = "service.beta.kubernetes.io/azure-load-balancer-health-probe-num-of-probe"
)

// endpoint is the Service. An exposed one has a load balancer that sends to
// nodes with a replica only (Local): its probes then ask a node whether it has
// a ready replica, rather than whether a port is open; a lost node fails only
// the connections it holds; and a replica sees who calls. The price is that
// load is even over nodes, not over replicas, which the spread makes the same.
// The probe's numbers are Azure's defaults, written down because the delay of
// the drain is reckoned from them. The port says that it is HTTP by its name:
// appProtocol would have some versions of AKS probe "/" for it.
func (w workload) endpoint() *corev1.Service {
	service := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: w.meta(),
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeClusterIP,
			Selector: w.selector(),
			Ports: []corev1.ServicePort{{
				Name:       httpPort,
				Protocol:   corev1.ProtocolTCP,
				Port:       80,
				TargetPort: intstr.FromString(httpPort),
			}},
		},
	}
	// In a mesh it is the gateway's Service that has the load balancer.
	if w.service.Expose == system.Public && !w.mesh {
		service.Annotations = map[string]string{probeInterval: "5", probeCount: "2"}
		service.Spec.Type = corev1.ServiceTypeLoadBalancer
		service.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	return service
}
