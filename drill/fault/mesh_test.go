package fault

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/nines-ha/nines/ground/mesh"
	"github.com/nines-ha/nines/record"
)

const istiod = "istiod-" + mesh.Revision

// meshed adds istiod and gateways, as the add-on has them, to a cluster of two.
func meshed() []runtime.Object {
	list := append(objects(2), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: mesh.System, Name: istiod, Labels: map[string]string{"app": "istiod"}},
		Spec:       appsv1.DeploymentSpec{Replicas: new(int32(2))},
		Status:     appsv1.DeploymentStatus{Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 2},
	})
	for i := 1; i <= 2; i++ {
		for _, part := range []struct{ namespace, name, key, value string }{
			{mesh.System, "istiod", "app", "istiod"}, {mesh.IngressNamespace, "gateway", "istio", mesh.Ingress},
		} {
			p := pod(fmt.Sprintf("%s-%d", part.name, i), fmt.Sprintf("n%d", i), "ReplicaSet")
			p.Namespace, p.Labels = part.namespace, map[string]string{part.key: part.value}
			list = append(list, p)
		}
	}
	return list
}

func names(t *testing.T, kube *fake.Clientset, namespace string) string {
	t.Helper()
	list, err := kube.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range list.Items {
		all = append(all, p.Name)
	}
	return strings.Join(all, " ")
}

func TestGatewayLoss(t *testing.T) {
	s, kube := site(1, meshed()...)
	s.Mesh = true
	i := prepare(t, "gateway-loss", s)
	var l told
	ctx, cancel := contextOf(t, 50*time.Millisecond) // nobody makes another one here
	defer cancel()
	if err := i.Inject(ctx, l.tell); err == nil || !strings.Contains(err.Error(), "1 of 2 gateways are ready") {
		t.Errorf("error = %v", err)
	}
	left := names(t, kube, mesh.IngressNamespace)
	if left != "gateway-1" && left != "gateway-2" || strings.Contains(l.read(), left) || !strings.HasSuffix(l.read(), " done") {
		t.Errorf("%q are left, told %q", left, l.read())
	}
	for _, a := range kube.Actions() {
		if d, ok := a.(clienttesting.DeleteActionImpl); ok && (*d.DeleteOptions.GracePeriodSeconds != 0 || d.Namespace != mesh.IngressNamespace) {
			t.Errorf("deleted %s/%s with %+v", d.Namespace, d.Name, d.DeleteOptions)
		}
	}
	if len(i.Heals) != 0 {
		t.Errorf("heals %v", i.Heals)
	}
	s, _ = site(1, objects(2)...)
	s.Mesh = true
	f, _ := Find("gateway-loss")
	if _, err := f.Prepare(t.Context(), s); err == nil || !strings.Contains(err.Error(), "no ingress gateway is ready") {
		t.Errorf("error = %v", err)
	}
}

func (s *Site) sceneOf(t *testing.T) *scene {
	t.Helper()
	sc := &scene{site: s}
	if err := sc.lookAtCluster(t.Context()); err != nil {
		t.Fatal(err)
	}
	return sc
}

func TestIstiodLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, kube := site(1, meshed()...)
		i, err := istiodLoss(t.Context(), s.sceneOf(t))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]Heal{{Do: "scale", Namespace: mesh.System, Name: istiod, Replicas: 2}}, i.Heals); d != "" {
			t.Error(d)
		}
		replicas := func() int32 {
			d, err := kube.AppsV1().Deployments(mesh.System).Get(t.Context(), istiod, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return *d.Spec.Replicas
		}
		injected := make(chan error, 1)
		var l told
		began := time.Now()
		go func() { injected <- i.Inject(t.Context(), l.tell) }()
		time.Sleep(istiodAway - time.Second)
		if replicas() != 0 || names(t, kube, mesh.System) != "" {
			t.Errorf("%d replicas, pods %q", replicas(), names(t, kube, mesh.System))
		}
		if err := <-injected; err != nil {
			t.Fatal(err)
		}
		if replicas() != 2 || time.Since(began) < istiodAway {
			t.Errorf("%d replicas after %s", replicas(), time.Since(began))
		}
		if got := l.read(); got != istiod+" done\n"+istiod+" undone" {
			t.Errorf("told %q", got)
		}
	})
	s, _ := site(1, objects(2)...)
	if _, err := istiodLoss(t.Context(), s.sceneOf(t)); err == nil || !strings.Contains(err.Error(), "no Deployment of istiod") {
		t.Errorf("error = %v", err)
	}
}

// The restart is asked for while istiod is away, and every pod is told as it is.
func TestInjectorLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, kube := site(1, meshed()...)
		pods := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
		kube.PrependReactor("patch", "deployments", func(a clienttesting.Action) (bool, runtime.Object, error) {
			if a.(clienttesting.PatchAction).GetName() != "web" {
				return false, nil, nil
			}
			for i := 1; i <= 2; i++ {
				if _, err := kube.Tracker().Get(pods, mesh.System, fmt.Sprintf("istiod-%d", i)); err == nil {
					t.Errorf("restarted while istiod-%d is there", i)
				}
			}
			for n := 1; n <= 2; n++ { // at once, one of them outside the mesh
				p := pod(fmt.Sprintf("web-new-%d", n), fmt.Sprintf("n%d", n), "ReplicaSet")
				p.UID = types.UID(p.Name)
				if n == 1 {
					p.Spec.InitContainers = []corev1.Container{{Name: "istio-proxy"}}
				}
				if err := kube.Tracker().Add(p); err != nil {
					t.Error(err)
				}
				if err := kube.Tracker().Delete(pods, "fleet", fmt.Sprintf("web-%d", n)); err != nil {
					t.Error(err)
				}
			}
			d, err := kube.Tracker().Get(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, "fleet", "web")
			if err != nil {
				return true, nil, err
			}
			web := d.(*appsv1.Deployment)
			web.Status.Replicas, web.Status.UpdatedReplicas, web.Status.AvailableReplicas = 2, 2, 2
			return true, web, kube.Tracker().Update(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, web, "fleet")
		})
		i, err := injectorLoss(t.Context(), s.sceneOf(t))
		if err != nil {
			t.Fatal(err)
		}
		if len(i.Touches) != 3 || len(i.Heals) != 1 {
			t.Errorf("touches %q, heals %v", i.Touches, i.Heals)
		}
		states := map[string]string{}
		err = i.Inject(t.Context(), func(e record.Event) {
			if e.Kind == record.Mesh {
				states[e.Name] = e.State
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(map[string]string{"web-new-1": record.Inside, "web-new-2": record.Outside}, states); d != "" {
			t.Error(d)
		}
	})
}

func TestMeshed(t *testing.T) {
	for name, c := range map[string]struct {
		sidecars int
		want     bool
		wrong    string
	}{
		"none":       {0, false, ""},
		"all":        {2, true, ""},
		"one of two": {1, false, "1 of the 2 ready pods of web have a sidecar"},
	} {
		list := objects(2)
		for _, o := range list {
			if p, ok := o.(*corev1.Pod); ok && c.sidecars > 0 {
				p.Spec.InitContainers = []corev1.Container{{Name: "istio-proxy"}}
				c.sidecars--
			}
		}
		s, _ := site(1, list...)
		got, err := s.Meshed(t.Context())
		if got != c.want || (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: %t, %v", name, got, err)
		}
	}
}
