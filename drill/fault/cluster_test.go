package fault

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
)

// objects are a cluster of nodes, each in a zone of its own, with a ready pod of
// the Deployment "web" on each.
func objects(nodes int) []runtime.Object {
	labels := map[string]string{"app": "web"}
	list := []runtime.Object{&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "web", Generation: 1},
		Spec:       appsv1.DeploymentSpec{Replicas: new(int32(nodes)), Selector: &metav1.LabelSelector{MatchLabels: labels}},
		Status:     appsv1.DeploymentStatus{ObservedGeneration: 1},
	}}
	for i := 1; i <= nodes; i++ {
		node := fmt.Sprintf("n%d", i)
		list = append(list, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: node, Labels: map[string]string{corev1.LabelTopologyZone: fmt.Sprintf("z%d", i)}},
			Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
		}, pod(fmt.Sprintf("web-%d", i), node, "ReplicaSet"))
	}
	return list
}

func pod(name, node, owner string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: name, UID: types.UID("uid of " + name), Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{NodeName: node},
		Status: corev1.PodStatus{
			Phase:      corev1.PodRunning,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
	if owner != "" {
		p.OwnerReferences = []metav1.OwnerReference{{Kind: owner, Name: "owner", Controller: new(true)}}
	}
	return p
}

func autoscalerOf(name string, least, most int32) *autoscalingv2.HorizontalPodAutoscaler {
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "scaler"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name},
			MinReplicas:    new(least), MaxReplicas: most,
		},
	}
}

func site(seed uint64, objects ...runtime.Object) (*Site, *fake.Clientset) {
	kube := fake.NewClientset(objects...)
	return &Site{Kube: kube, Region: "westeurope", Namespace: "fleet", Service: "web", Seed: seed}, kube
}
