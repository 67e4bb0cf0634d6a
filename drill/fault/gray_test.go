package fault

import (
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/ground/world"
)

// front is the Service of the Deployment "web", whose pods have a named port.
func front(list []runtime.Object, target intstr.IntOrString) []runtime.Object {
	for _, o := range list {
		if p, ok := o.(*corev1.Pod); ok {
			p.Spec.Containers = []corev1.Container{{Name: "web", Ports: []corev1.ContainerPort{{Name: "admin", ContainerPort: 8081}, {Name: "http", ContainerPort: 8080}}}}
		}
	}
	return append(list, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "web"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80, TargetPort: target}}},
	})
}

func onSham(t *testing.T, g *fakeGround, s *Site) {
	t.Helper()
	client, err := ground.Connect("sham")
	if err != nil {
		t.Fatal(err)
	}
	s.Ground, s.Region, s.Stores, s.Access = client, "here", []string{"ledger"}, g.access
}

func TestUnwellPods(t *testing.T) {
	for name, check := range map[string]func(i ground.Impairment) bool{
		"gray-pod": func(i ground.Impairment) bool {
			return i.Errors == 0.5 && i.Status == 503 && i.Headers["X-Served-By-Pod"] == i.Pod && i.Delay == 0
		},
		"slow-pod": func(i ground.Impairment) bool { return i.Delay == 2*time.Second && i.Errors == 0 },
		"stalled-dependency": func(i ground.Impairment) bool {
			return i.Errors == 0 && i.Delay == 0 && slices.Equal(i.Drop, []netip.AddrPort{netip.MustParseAddrPort("10.1.2.3:0")})
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newFakeGround(t)
			g.state.Stores = []world.StoreStatus{{Name: "ledger", Address: "10.1.2.3"}}
			s, _ := site(1, front(objects(3), intstr.FromString("http"))...)
			onSham(t, g, s)
			i := prepare(t, name, s)
			if len(g.did()) != 0 {
				t.Errorf("preparing did %q", g.did())
			}
			var l told
			if err := i.Inject(t.Context(), l.tell); err != nil {
				t.Fatal(err)
			}
			orders := g.did()
			if len(orders) != 1 || !strings.HasPrefix(orders[0], "/impair/here ") {
				t.Fatalf("orders %q", orders)
			}
			var what ground.Impairment
			if err := json.Unmarshal([]byte(strings.TrimPrefix(orders[0], "/impair/here ")), &what); err != nil {
				t.Fatal(err)
			}
			if err := what.Validate(); err != nil || !check(what) || what.Port != 8080 || what.Namespace != "fleet" {
				t.Errorf("%+v, %v", what, err)
			}
			if want := []Heal{{Do: "mend", Region: "here", Namespace: "fleet", Name: what.Pod}}; len(i.Heals) != 1 || i.Heals[0].String() != want[0].String() || i.Heals[0].Region != "here" {
				t.Errorf("heals %v", i.Heals)
			}
			if l.read() != what.Pod+" done" {
				t.Errorf("told %q", l.read())
			}
		})
	}
}

func TestPortOf(t *testing.T) {
	for _, test := range []struct {
		target intstr.IntOrString
		want   uint16
	}{{intstr.FromString("http"), 8080}, {intstr.FromInt32(9000), 9000}, {intstr.IntOrString{}, 80}} {
		s, _ := site(1, front(objects(1), test.target)...)
		sc := &scene{site: s}
		if err := sc.lookAtCluster(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, err := sc.portOf(t.Context(), &sc.pods[0]); err != nil || got != test.want {
			t.Errorf("%s: %d, %v", test.target.String(), got, err)
		}
	}
	s, _ := site(1, objects(1)...)
	if _, err := (&scene{site: s}).portOf(t.Context(), &corev1.Pod{}); err == nil {
		t.Error("without a Service there is a port")
	} else if _, ok := errors.AsType[*ImpossibleError](err); !ok {
		t.Errorf("error = %v", err)
	}
}
