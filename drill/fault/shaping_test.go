package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"github.com/nines-ha/nines/record"
)

var traffic = []record.Share{
	{Service: "next", Weight: 0.1, Headers: map[string]string{"X-Preview": "true"}},
	{Service: "shadow", Mirror: 0.2},
}

// sharers are the service "web" and two more, with two pods each.
func sharers() []runtime.Object {
	list := objects(2)
	for _, name := range []string{"next", "shadow"} {
		labels := map[string]string{"app": name}
		list = append(list, &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: name},
			Spec:       appsv1.DeploymentSpec{Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: labels}},
			Status:     appsv1.DeploymentStatus{Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 2},
		}, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: name},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(9000)}}},
		})
		for i := 1; i <= 2; i++ {
			p := pod(fmt.Sprintf("%s-%d", name, i), fmt.Sprintf("n%d", i), "ReplicaSet")
			p.Labels = labels
			list = append(list, p)
		}
	}
	return list
}

// answered is what comes back through the API server's proxy.
type answered struct {
	text string
	err  error
}

func (a answered) DoRaw(context.Context) ([]byte, error) { return []byte(a.text), a.err }

func (a answered) Stream(context.Context) (io.ReadCloser, error) { return nil, errors.ErrUnsupported }

// counting has the sidecar of each pod say that so many requests have come, and
// more each time.
func counting(kube *fake.Clientset) {
	n := 0
	kube.AddProxyReactor("pods", func(a clienttesting.Action) (bool, rest.ResponseWrapper, error) {
		get := a.(clienttesting.ProxyGetAction)
		if get.GetPort() != "15090" || get.GetPath() != "/stats/prometheus" || !strings.HasPrefix(get.GetName(), "shadow-") {
			return true, answered{err: fmt.Errorf("%s:%s%s is not asked", get.GetName(), get.GetPort(), get.GetPath())}, nil
		}
		n += 10
		return true, answered{text: fmt.Sprintf(statistics, n)}, nil
	})
}

const statistics = `# TYPE envoy_cluster_upstream_rq_total counter
envoy_cluster_upstream_rq_total{cluster_name="inbound|9000||"} %d

envoy_cluster_upstream_rq_total{cluster_name="outbound|80||web.fleet.svc.cluster.local"} 5000
envoy_cluster_upstream_rq_totals{cluster_name="inbound|9000||"} 5000
envoy_cluster_upstream_cx_total{cluster_name="inbound|9000||"} 5000
`

func TestShaping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, kube := site(1, sharers()...)
		s.Mesh, s.Traffic = true, traffic
		counting(kube)
		i, err := shaping(t.Context(), s.sceneOf(t))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]Heal{{Do: "scale", Namespace: "fleet", Name: "shadow", Replicas: 2}}, i.Heals); d != "" {
			t.Error(d)
		}
		if err := i.Before(t.Context(), nil); err != nil {
			t.Error(err)
		}
		var counts []int
		var l told
		began := time.Now()
		injected := make(chan error, 1)
		go func() {
			injected <- i.Inject(t.Context(), func(e record.Event) {
				l.tell(e)
				if e.Kind == record.Copies {
					counts = append(counts, e.Count)
				}
			})
		}()
		replicas := func(name string) int32 {
			d, err := kube.AppsV1().Deployments("fleet").Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return *d.Spec.Replicas
		}
		time.Sleep(copiesCounted - time.Second)
		if replicas("shadow") != 2 || l.read() != "shadow counted" {
			t.Errorf("%d replicas while copies are counted, told %q", replicas("shadow"), l.read())
		}
		time.Sleep(copiesGone)
		if replicas("shadow") != 0 || replicas("next") != 2 || names(t, kube, "fleet") != "next-1 next-2 web-1 web-2" {
			t.Errorf("%d replicas, pods %q", replicas("shadow"), names(t, kube, "fleet"))
		}
		if err := <-injected; err != nil {
			t.Fatal(err)
		}
		if replicas("shadow") != 2 || time.Since(began) < copiesCounted+copiesGone {
			t.Errorf("%d replicas after %s", replicas("shadow"), time.Since(began))
		}
		if got := l.read(); got != "shadow counted\nshadow counted\nshadow done\nshadow undone" {
			t.Errorf("told %q", got)
		}
		if d := cmp.Diff([]int{10 + 20, 30 + 40}, counts); d != "" {
			t.Error(d)
		}
	})
}

// On a ground the pods that get copies are slow before they are gone.
func TestShapingOnAGround(t *testing.T) {
	g := newFakeGround(t)
	s, _ := site(1, sharers()...)
	onSham(t, g, s)
	s.Mesh, s.Traffic = true, traffic
	i := prepare(t, "shaping", s)
	var heals []string
	for _, h := range i.Heals {
		heals = append(heals, h.String())
	}
	want := []string{"make pod fleet/shadow-1 well again", "make pod fleet/shadow-2 well again", "scale Deployment fleet/shadow back to 2 replicas"}
	if d := cmp.Diff(want, heals); d != "" {
		t.Error(d)
	}
	if len(g.did()) != 0 {
		t.Errorf("preparing did %q", g.did())
	}
}

func TestShapingWithoutMirror(t *testing.T) {
	s, kube := site(1, sharers()...)
	s.Mesh, s.Traffic = true, traffic[:1]
	i := prepare(t, "shaping", s)
	if err := i.Inject(t.Context(), (&told{}).tell); err != nil || len(i.Heals) != 0 {
		t.Errorf("%v, heals %v", err, i.Heals)
	}
	for _, a := range kube.Actions() {
		if a.GetVerb() != "get" && a.GetVerb() != "list" {
			t.Errorf("it did %s %s", a.GetVerb(), a.GetResource().Resource)
		}
	}
	f, err := Find("shaping")
	if err != nil {
		t.Fatal(err)
	}
	s.Traffic = nil
	if _, ok := errors.AsType[*ImpossibleError](f.Available(s)); !ok {
		t.Errorf("a service that shares nothing: %v", f.Available(s))
	}
	s.Traffic = []record.Share{{Service: "nobody", Weight: 0.1}}
	if _, err := f.Prepare(t.Context(), s); err == nil || !strings.Contains(err.Error(), "no Deployment nobody") {
		t.Errorf("a service that is not there: %v", err)
	}
}

func TestArrived(t *testing.T) {
	for text, want := range map[string]int{
		"":                          0,
		fmt.Sprintf(statistics, 12): 12,
		fmt.Sprintf(statistics, 12) + `envoy_cluster_upstream_rq_total{cluster_name="inbound|9001||"} 30`: 42,
	} {
		if n, err := arrived([]byte(text)); err != nil || n != want {
			t.Errorf("%d, %v of\n%s", n, err, text)
		}
	}
	if _, err := arrived([]byte(`envoy_cluster_upstream_rq_total{cluster_name="inbound|9000||"} many`)); err == nil {
		t.Error("many is a number")
	}
}
