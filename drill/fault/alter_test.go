package fault

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/nines-ha/nines/drill/workload"
	"github.com/nines-ha/nines/ground/mesh"
)

// platform is a mesh with three gateways, and an injector of two webhooks, one of
// which says nothing of its failure policy; another's is not its matter.
func platform() []runtime.Object {
	labels := map[string]string{"istio": mesh.Ingress}
	list := append(objects(2), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: mesh.IngressNamespace, Name: mesh.Ingress},
		Spec:       appsv1.DeploymentSpec{Replicas: new(int32(3)), Selector: &metav1.LabelSelector{MatchLabels: labels}},
		Status:     appsv1.DeploymentStatus{Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1},
	}, &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "injector", Labels: map[string]string{"app": "sidecar-injector"}},
		Webhooks: []admissionv1.MutatingWebhook{
			{Name: "namespace.injector", FailurePolicy: new(admissionv1.Fail), ClientConfig: admissionv1.WebhookClientConfig{CABundle: []byte("kept")}},
			{Name: "object.injector"},
		},
	}, &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "other"}, Webhooks: []admissionv1.MutatingWebhook{{Name: "other", FailurePolicy: new(admissionv1.Fail)}},
	})
	gateway := pod("gateway-1", "n1", "ReplicaSet")
	gateway.Namespace, gateway.Labels = mesh.IngressNamespace, labels
	return append(list, gateway)
}

func policies(t *testing.T, kube *fake.Clientset) map[string]string {
	t.Helper()
	list, err := kube.AdmissionregistrationV1().MutatingWebhookConfigurations().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, c := range list.Items {
		for _, w := range c.Webhooks {
			all[w.Name] = policyOf(w)
			if w.Name == "namespace.injector" && string(w.ClientConfig.CABundle) != "kept" {
				t.Errorf("webhook %s has lost its certificate", w.Name)
			}
		}
	}
	return all
}

func mendHere(t *testing.T, s *Site, heals []Heal) {
	t.Helper()
	m := &mender{kube: s.Kube, log: slog.New(slog.DiscardHandler)}
	for _, h := range heals {
		if _, err := m.step(t.Context(), h); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(h.String(), "%!") || !strings.Contains(h.String(), " ") {
			t.Errorf("in words: %q", h)
		}
	}
}

func TestAlterInjector(t *testing.T) {
	s, kube := site(1, platform()...)
	before := policies(t, kube)
	undo, do, err := Alter(t.Context(), s, []Heal{{Do: "failurePolicy", Policy: "Ignore"}})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, policies(t, kube)); d != "" {
		t.Errorf("before it is done: %s", d)
	}
	if err := do(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"namespace.injector": "Ignore", "object.injector": "Ignore", "other": "Fail"}, policies(t, kube)); d != "" {
		t.Error(d)
	}
	if last := undo[len(undo)-1]; len(undo) != 3 || last.Do != "enmesh" || last.Name != "web" {
		t.Fatalf("undone by %v", undo)
	}
	mendHere(t, s, undo)
	if d := cmp.Diff(before, policies(t, kube)); d != "" {
		t.Error(d)
	}
	if _, _, err := Alter(t.Context(), s, []Heal{{Do: "failurePolicy", Policy: "Fail"}}); err == nil || !strings.Contains(err.Error(), "another failure policy than Fail") {
		t.Errorf("error = %v", err)
	}
}

// It is done when those that leave are gone.
func TestAlterScale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, kube := site(1, platform()...)
		leaving := pod("gateway-2", "n2", "ReplicaSet")
		leaving.Namespace, leaving.Labels = mesh.IngressNamespace, map[string]string{"istio": mesh.Ingress}
		if err := kube.Tracker().Add(leaving); err != nil {
			t.Fatal(err)
		}
		undo, do, err := Alter(t.Context(), s, []Heal{{Do: "scale", Namespace: mesh.IngressNamespace, Name: mesh.Ingress, Replicas: 1}})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- do(t.Context()) }()
		time.Sleep(20 * time.Second)
		select {
		case err := <-done:
			t.Fatalf("it is done while a gateway is leaving: %v", err)
		default:
		}
		if err := kube.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("pods"), leaving.Namespace, leaving.Name); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		replicas := func() int32 {
			d, err := kube.AppsV1().Deployments(mesh.IngressNamespace).Get(t.Context(), mesh.Ingress, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return *d.Spec.Replicas
		}
		if replicas() != 1 {
			t.Errorf("%d replicas", replicas())
		}
		mendHere(t, s, undo)
		if replicas() != 3 {
			t.Errorf("%d replicas afterwards", replicas())
		}
	})
}

func TestAlterRefuses(t *testing.T) {
	for want, step := range map[string]Heal{
		"there are 3 replicas of":         {Do: "scale", Namespace: mesh.IngressNamespace, Name: mesh.Ingress, Replicas: 3},
		"look at Deployment nobody":       {Do: "scale", Namespace: mesh.IngressNamespace, Name: "nobody", Replicas: 1},
		"nobody knows how to alter":       {Do: "power", Node: "n1"},
		"no webhook gives pods a sidecar": {Do: "failurePolicy", Policy: "Fail"},
	} {
		s, kube := site(1, platform()...)
		if _, _, err := Alter(t.Context(), s, []Heal{step}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %q", err, want)
		}
		for _, a := range kube.Actions() {
			if a.GetVerb() != "get" && a.GetVerb() != "list" {
				t.Errorf("looking did %s %s", a.GetVerb(), a.GetResource().Resource)
			}
		}
	}
}

// A pod outside the mesh is replaced, once, and no other.
func TestEnmesh(t *testing.T) {
	inside := func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{{Name: sidecar}} }
	for name, c := range map[string]struct {
		first, second func(*corev1.Pod)
		restart       bool
	}{
		"all are inside":                {inside, inside, false},
		"one is outside":                {inside, func(*corev1.Pod) {}, true},
		"one that is outside is ending": {inside, func(p *corev1.Pod) { p.DeletionTimestamp, p.Finalizers = new(metav1.Now()), []string{"held"} }, false},
	} {
		list := objects(2)
		for i, change := range []func(*corev1.Pod){c.first, c.second} {
			p := list[2+2*i].(*corev1.Pod)
			p.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Minute))
			change(p)
		}
		s, _ := site(1, list...)
		m := &mender{kube: s.Kube}
		h := Heal{Do: "enmesh", Namespace: "fleet", Name: "web"}
		changed, err := m.step(t.Context(), h)
		if err != nil || changed != c.restart {
			t.Errorf("%s: %t, %v", name, changed, err)
		}
		if changed, err := m.step(t.Context(), h); err != nil || changed {
			t.Errorf("%s, again: %t, %v", name, changed, err)
		}
	}
	s, _ := site(1)
	if changed, err := (&mender{kube: s.Kube}).step(t.Context(), Heal{Do: "enmesh", Namespace: "fleet", Name: "web"}); changed || err != nil {
		t.Errorf("nothing there: %t, %v", changed, err)
	}
}

// A restart from before a pod was made outside the mesh does not replace it.
func TestEnmeshAfterARestart(t *testing.T) {
	list := objects(1)
	list[0].(*appsv1.Deployment).Spec.Template.Annotations = map[string]string{workload.RestartedAt: time.Now().Add(-time.Minute).Format(time.RFC3339Nano)}
	list[2].(*corev1.Pod).CreationTimestamp = metav1.Now()
	s, _ := site(1, list...)
	if changed, err := (&mender{kube: s.Kube}).step(t.Context(), Heal{Do: "enmesh", Namespace: "fleet", Name: "web"}); !changed || err != nil {
		t.Errorf("%t, %v", changed, err)
	}
}
