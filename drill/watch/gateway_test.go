package watch

import (
	"context"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nines-ha/nines/record"
)

const (
	ingress     = "aks-istio-ingress"
	gatewayName = "aks-istio-ingressgateway-external"
)

// gatewayDeployment has a revision in its name, as AKS gives it one.
func (a *api) gatewayDeployment(revision string, want, available int32) {
	labels := map[string]string{"istio": gatewayName}
	a.put("/apis/apps/v1/namespaces/"+ingress+"/deployments", &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Name: gatewayName + "-" + revision, Namespace: ingress},
		Spec:       appsv1.DeploymentSpec{Replicas: &want, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}}},
		Status:     appsv1.DeploymentStatus{Replicas: want, UpdatedReplicas: want, AvailableReplicas: available},
	})
}

func (a *api) gatewaySlice(endpoints ...discoveryv1.Endpoint) {
	a.put("/apis/discovery.k8s.io/v1/namespaces/"+ingress+"/endpointslices", &discoveryv1.EndpointSlice{
		TypeMeta:    metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta:  metav1.ObjectMeta{Name: "gateway-abc", Namespace: ingress, Labels: map[string]string{discoveryv1.LabelServiceName: gatewayName}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: endpoints,
	})
}

func (a *api) gatewayPod(name, node string, change ...func(*corev1.Pod)) {
	p := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ingress, UID: "uid", Labels: map[string]string{"istio": gatewayName}},
		Spec:       corev1.PodSpec{NodeName: node},
		Status: corev1.PodStatus{
			Phase:             corev1.PodRunning,
			Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: before(time.Minute)}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "istio-proxy", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}},
		},
	}
	for _, c := range change {
		c(p)
	}
	a.put("/api/v1/namespaces/"+ingress+"/pods", p)
}

// gated is the small cluster with a gateway pod on its first node.
func gated(a *api) *Gateway {
	small(a, before(time.Minute))
	a.put("/api/v1/namespaces/"+ingress+"/services", &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Name: gatewayName, Namespace: ingress},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"istio": gatewayName}},
	})
	a.gatewayDeployment("asm-1-27", 1, 1)
	a.gatewayPod("gateway-0", "westeurope-1-1")
	a.gatewaySlice(at("gateway-0", "westeurope-1-1", "westeurope-1", true, true, false))
	return &Gateway{Namespace: ingress, Service: gatewayName}
}

func TestTheGatewayIsFollowedLikeTheService(t *testing.T) {
	a, kube := newAPI(t)
	w := &Watch{Config: Config{Kube: kube, Gateway: gated(a)}}
	told := start(t, w)
	if err := w.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := told.of(record.GatewayKind, "gateway-0"); !slices.Equal(got, []string{"ready"}) {
		t.Errorf("the gateway is told as %v", got)
	}
	if e := told.last(record.GatewayKind, "gateway-0"); e.Node != "westeurope-1-1" || e.Zone != "westeurope-1" {
		t.Errorf("%+v does not say where it is", e)
	}
	if got := told.of(record.Endpoint, "gateway-0"); len(got) != 0 {
		t.Errorf("the gateway is told as an endpoint of the service: %v", got)
	}
	if got := *w.DescribeGateway(); got != (record.Gateway{Namespace: ingress, Name: gatewayName, Replicas: 1}) {
		t.Errorf("%+v", got)
	}
	if w.Ready() != 2 {
		t.Errorf("%d replicas are ready, want those of the service alone", w.Ready())
	}
	a.gatewayPod("gateway-0", "westeurope-1-1", unready)
	a.gatewaySlice(at("gateway-0", "westeurope-1-1", "westeurope-1", false, false, false))
	a.gatewayDeployment("asm-1-27", 1, 0)
	for _, want := range []string{
		"pod gateway-0 is unready", "endpoint gateway-0 is unready", "deployment " + gatewayName + "-asm-1-27 has 0 of 1 replicas available",
		"service " + gatewayName + " has 0 ready endpoints, and 1 are wanted",
	} {
		eventually(t, want, func() bool { return slices.Contains(w.Unsteady(), want) })
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := w.Await(ctx); err == nil {
		t.Error("a gateway that does not serve is taken for order")
	}
	// Another revision takes over: two deployments of one gateway.
	a.gatewayDeployment("asm-1-28", 1, 1)
	a.gatewayDeployment("asm-1-27", 0, 0)
	a.gatewayPod("gateway-1", "westeurope-2-1")
	a.gatewaySlice(at("gateway-1", "westeurope-2-1", "westeurope-2", true, true, false))
	a.remove("/api/v1/namespaces/"+ingress+"/pods", "gateway-0")
	await, done := context.WithTimeout(t.Context(), patience)
	defer done()
	if err := w.Await(await); err != nil {
		t.Error(err)
	}
	eventually(t, "the old one is gone", func() bool {
		return slices.Equal(told.of(record.GatewayKind, "gateway-0"), []string{"ready", "unready", "gone"}) && slices.Equal(told.of(record.Pod, "gateway-0"), []string{"ready", "unready", "deleted"})
	})
}

// The load balancer is the gateway's, and its backends are held against where
// gateway pods are.
func TestBackendsAreThoseOfTheGateway(t *testing.T) {
	a, kube := newAPI(t)
	gateway := gated(a)
	inside := &inside{status: groundOfTwo()}
	inside.status.Regions[0].Balancers[0].Name = ingress + "/" + gatewayName
	inside.status.Regions[0].Balancers[0].Backends[1].State = "down" // no gateway there
	w := &Watch{Config: Config{Kube: kube, Gateway: gateway}, look: inside.look}
	told := start(t, w)
	if err := w.Await(t.Context()); err != nil {
		t.Error(err)
	}
	if got := told.of(record.Backend, "westeurope-2-1"); !slices.Equal(got, []string{"down"}) {
		t.Errorf("the backend is told as %v", got)
	}
}

func TestStartSaysThatThereIsNoGateway(t *testing.T) {
	a, kube := newAPI(t)
	small(a, before(time.Minute))
	_, err := Start(t.Context(), Config{Kube: kube, Namespace: "fleet", Service: "vehicle", Gateway: &Gateway{"there", "is-none"}, Tell: func(record.Event) {}})
	if err == nil {
		t.Error("a gateway that is not there was taken")
	}
}
