package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	clienttesting "k8s.io/client-go/testing"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/ground/mesh"
	"github.com/nines-ha/nines/record"
)

var (
	webAddress     = netip.MustParseAddrPort("10.0.0.10:80")
	gatewayAddress = netip.MustParseAddrPort("10.0.0.20:80")
)

// probed is a mesh of two pods of "web" at port 8080 with Services of theirs and of
// the gateways.
func probed() []runtime.Object {
	list := meshed()
	for i, o := range list {
		if p, ok := o.(*corev1.Pod); ok {
			p.Status.PodIP = fmt.Sprintf("10.1.0.%d", i+1)
			p.Spec.ServiceAccountName = "gateway-account"
		}
	}
	service := func(namespace, name, address string) runtime.Object {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec:       corev1.ServiceSpec{ClusterIP: address, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}},
		}
	}
	return append(list, service("fleet", "web", "10.0.0.10"), service(mesh.IngressNamespace, mesh.Ingress, "10.0.0.20"))
}

// A door stands for a mesh: it answers probes as proxies would, and writes the log
// that they would write.
type door struct {
	t          *testing.T
	plaintext  bool // is let in, up to the policies
	anybody    bool // who is in the mesh may ask
	mute       bool // nothing is written
	silent     bool // nobody answers what comes from outside the mesh
	gateway    int  // what it answers
	broken     bool // nothing can be tried
	log        map[string][]byte
	port       uint16
	handshakes int
	swallowed  int
	asked      []ground.Probe
}

func (d *door) write(pod, format string, args ...any) {
	if !d.mute {
		d.log[pod] = fmt.Appendf(d.log[pod], "2026-01-02 info some words\n"+format+"\n", args...)
	}
}

func (d *door) try(_ context.Context, p ground.Probe) (ground.Answer, error) {
	if d.broken {
		return ground.Answer{}, errors.New("the node is off")
	}
	if err := p.Validate(); err != nil {
		d.t.Error(err)
	}
	d.asked = append(d.asked, p)
	d.port++
	a := ground.Answer{At: time.Now(), From: netip.AddrPortFrom(netip.MustParseAddr("10.1.0.99"), 40000+d.port)}
	inPod := p.Namespace == "fleet"
	refused := func(pod, line string) (ground.Answer, error) {
		a.Refused = "closed"
		if pod != "" {
			d.write(pod, line, a.From)
		}
		return a, nil
	}
	const nothing = `{"from":%q,"flags":"NR","details":"filter_chain_not_found","status":0}`
	const hole = `{"from":%q,"flags":"UH","cluster":"BlackHoleCluster;","status":0,"upstream":null}`
	switch {
	case p.To.Port() == adminPort && inPod:
		a.Status, a.Body = 200, fmt.Sprintf("listener.0.0.0.0_15006.ssl.fail_verify_error: %d\ntcp.BlackHoleCluster.downstream_cx_total: %d\nlistener.x.ssl.ciphers: No recorded values\n", d.handshakes, d.swallowed)
		if d.mute {
			a.Body = ""
		}
	case p.To == gatewayAddress && inPod:
		return refused(p.Pod, hole)
	case p.To == gatewayAddress:
		a.Status = d.gateway
	case inPod:
		a.Status = 200
	case d.silent:
		a.Refused = "timeout"
	case p.To.Port() == inboundPort:
		d.swallowed++
		return refused("", "")
	case p.TLS != nil:
		d.handshakes++
		a.Refused = "alert"
	case p.Namespace == foreigner.namespace && p.To != webAddress:
		return refused(strangerPod, hole)
	case p.Namespace == foreigner.namespace && d.anybody:
		a.Status = 200
	case p.Namespace == foreigner.namespace:
		a.Status = 403
		d.write("web-2", `{"trace":%q,"status":403,"details":"rbac_access_denied_matched_policy[none]","peer":"spiffe://cluster.local/ns/nines-stranger/sa/default","method":"GET"}`, p.Headers["Traceparent"])
	case d.plaintext:
		a.Status = 403
	case p.To == webAddress:
		return refused("web-2", nothing)
	default:
		return refused(d.podAt(p.To.Addr()), nothing)
	}
	return a, nil
}

func (d *door) podAt(a netip.Addr) string {
	return map[string]string{"10.1.0.3": "web-1", "10.1.0.5": "web-2"}[a.String()]
}

func (d *door) read(_ context.Context, _, pod string, _ time.Time) ([]byte, error) {
	return d.log[pod], nil
}

// knock carries out all probes of a drill and gives what was told, by name.
func knock(t *testing.T, probes func(*prober) []probe, d door) (events []record.Event) {
	t.Helper()
	d.t, d.log = t, map[string][]byte{}
	if d.gateway == 0 {
		d.gateway = 422 // the service misses something in the question
	}
	synctest.Test(t, func(t *testing.T) {
		s, _ := site(1, probed()...)
		s.Path = "/v1"
		f, _ := Find("identity-probe")
		f.Ground = false
		s.Mesh = true
		sc, err := f.look(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		p, err := sc.prober(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p.try, p.read = d.try, d.read
		err = p.all(probes(p))(t.Context(), func(e record.Event) { events = append(events, e) })
		if err != nil {
			t.Error(err)
		}
	})
	return events
}

func states(events []record.Event, kind string) (states []string) {
	for _, e := range events {
		if e.Kind == kind {
			state := e.State
			if e.State == record.Refused && e.Reason == "" {
				state = "unseen"
			}
			states = append(states, state)
		}
	}
	return states
}

func TestProbes(t *testing.T) {
	plaintext, identity := (*prober).plaintext, (*prober).identity
	for name, test := range map[string]struct {
		probes   func(*prober) []probe
		door     door
		want     string
		controls string
	}{
		"strict":          {plaintext, door{}, "refused refused refused refused", "answered answered"},
		"permissive":      {plaintext, door{plaintext: true}, "admitted admitted admitted refused", "answered answered"},
		"silent":          {plaintext, door{silent: true}, "unknown unknown unknown unknown", "answered answered"},
		"no log":          {plaintext, door{mute: true}, "unseen unseen unseen unseen", "answered answered"},
		"no service":      {plaintext, door{gateway: 503}, "refused refused refused refused", "unanswered answered"},
		"no route":        {plaintext, door{gateway: 404}, "refused refused refused refused", "unanswered answered"},
		"not to be tried": {plaintext, door{broken: true}, "unknown unknown unknown unknown", "unanswered unanswered"},
		"policies":        {identity, door{}, "refused refused refused refused refused refused", "answered answered"},
		"no policy":       {identity, door{anybody: true}, "refused refused admitted admitted refused refused", "answered answered"},
		"mute":            {identity, door{mute: true}, "unseen unseen unseen unseen unseen unseen", "answered answered"},
	} {
		t.Run(name, func(t *testing.T) {
			events := knock(t, test.probes, test.door)
			if got := strings.Join(states(events, record.Probe), " "); got != test.want {
				t.Errorf("probes: %s, want %s", got, test.want)
			}
			if got := strings.Join(states(events, record.Control), " "); got != test.controls {
				t.Errorf("controls: %s, want %s", got, test.controls)
			}
			for _, e := range events {
				if e.Name == "" || e.Text == "" || e.Node == "" || e.Zone == "" {
					t.Errorf("it is told as %+v", e)
				}
			}
		})
	}
}

// What is seen is told in words, with who saw it.
func TestProof(t *testing.T) {
	var reasons []string
	for _, e := range append(knock(t, (*prober).plaintext, door{}), knock(t, (*prober).identity, door{})...) {
		if e.Kind == record.Probe {
			reasons = append(reasons, e.Reason)
		}
	}
	for i, want := range []string{
		"NR filter_chain_not_found from 10.1.0.99:40003 (log of web-2)",
		"NR filter_chain_not_found from 10.1.0.99:40004 (log of web-",
		"NR filter_chain_not_found from 10.1.0.99:40005 (log of web-",
		"tcp.BlackHoleCluster.downstream_cx_total from 0 to 1 (statistics of web-",
		"listener.0.0.0.0_15006.ssl.fail_verify_error from 0 to 1",
		"listener.0.0.0.0_15006.ssl.fail_verify_error from 1 to 2",
		"403 rbac_access_denied_matched_policy[none] peer spiffe://cluster.local/ns/nines-stranger/sa/default (log of web-2)",
		"403 rbac_access_denied_matched_policy[none]",
		"UH BlackHoleCluster from 10.1.0.99:40011 (log of stranger)",
		"UH BlackHoleCluster from 10.1.0.99:40012 (log of web-",
	} {
		if !strings.Contains(reasons[i], want) {
			t.Errorf("proof %d is %q, want %q in it", i, reasons[i], want)
		}
	}
}

// A line proves a refusal only if it is about this exchange, and of a refusal.
func TestLineRefuses(t *testing.T) {
	const id = "0123abcd-0123456789abcdef"
	from := netip.MustParseAddrPort("10.1.0.99:40001")
	mine := record.TraceParent(id, false)
	for name, test := range map[string]struct {
		line line
		want bool
	}{
		"no chain":               {line{"from": "10.1.0.99:40001", "flags": "NR"}, true},
		"another connection":     {line{"from": "10.1.0.99:40002", "flags": "NR"}, false},
		"nowhere to go":          {line{"from": "10.1.0.99:40001", "flags": "UH", "upstream": nil}, true},
		"it went somewhere":      {line{"from": "10.1.0.99:40001", "flags": "UH", "upstream": "10.1.0.1:80"}, false},
		"it broke":               {line{"from": "10.1.0.99:40001", "flags": "UF"}, false},
		"a request of that end":  {line{"from": "10.1.0.99:40001", "flags": "NR", "method": "GET", "status": 404.0}, false},
		"by a policy":            {line{"trace": mine, "status": 403.0, "details": "rbac_access_denied_matched_policy[none]"}, true},
		"by the service":         {line{"trace": mine, "status": 403.0, "details": "via_upstream", "upstream": "10.1.0.1:8080"}, false},
		"by the proxy itself":    {line{"trace": mine, "status": 502.0, "details": "direct_response", "route": "block_all"}, true},
		"by a route of ours":     {line{"trace": mine, "status": 502.0, "details": "direct_response", "route": "teapot"}, false},
		"of another request":     {line{"trace": record.TraceParent("0123abcd-0000000000000000", false), "status": 403.0, "details": "rbac_access_denied"}, false},
		"let in":                 {line{"trace": mine, "status": 200.0, "details": "via_upstream"}, false},
		"nothing in common":      {line{}, false},
		"what is not known":      {line{"from": "-", "flags": "-"}, false},
		"several flags, in form": {line{"from": "10.1.0.99:40001", "flags": "DC,NR"}, true},
	} {
		if got := test.line.refuses(id, from); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if (line{"flags": "NR"}).refuses(id, netip.AddrPort{}) {
		t.Error("what never connected was refused by a proxy")
	}
}

func TestForged(t *testing.T) {
	d := door{}
	d.t, d.log = t, map[string][]byte{}
	s, _ := site(1, probed()...)
	s.Path = "/v1"
	p, err := s.sceneWithDice(t).prober(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list := p.identity()
	gateway := "spiffe://cluster.local/ns/" + mesh.IngressNamespace + "/sa/gateway-account"
	if got := list[1].what.TLS; got == nil || got.Identity != gateway || !slices.Equal(got.ALPN, meshProtocols) {
		t.Errorf("the forged certificate: %+v", got)
	}
	if list[0].what.TLS == nil || list[0].what.TLS.Identity != "" {
		t.Errorf("without a certificate: %+v", list[0].what.TLS)
	}
	if got := list[3].what.Headers["X-Forwarded-Client-Cert"]; !strings.HasSuffix(got, ";URI="+gateway) {
		t.Errorf("the forged header: %q", got)
	}
	if list[2].what.Headers["X-Forwarded-Client-Cert"] != "" {
		t.Error("one forged header is in both")
	}
	if len(p.plaintext()) != PlaintextProbes || len(list) != IdentityProbes {
		t.Errorf("%d and %d probes", len(p.plaintext()), len(list))
	}
	for _, one := range append(append(p.plaintext(), list...), p.controls()...) {
		one = p.ready(one)
		if err := one.what.Validate(); err != nil || record.RequestOf(one.what.Headers["Traceparent"]) != one.id || one.what.Host == "" {
			t.Errorf("%s: %v, %+v", one.name, err, one.what)
		}
	}
}

func (s *Site) sceneWithDice(t *testing.T) *scene {
	t.Helper()
	sc := s.sceneOf(t)
	sc.dice = rand.New(rand.NewPCG(1, 1))
	return sc
}

// The strangers are made before the load, ready when it begins, and removed by what
// heals, whoever else is called like them.
func TestStrangers(t *testing.T) {
	s, kube := site(1, probed()...)
	s.Path = "/v1"
	sc := s.sceneWithDice(t)
	tries := 0
	pods := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	kube.PrependReactor("create", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if tries++; tries == 1 {
			return true, nil, errors.New("no service account yet")
		}
		p := a.(clienttesting.CreateAction).GetObject().(*corev1.Pod)
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		if p.Namespace == foreigner.namespace {
			p.Spec.InitContainers = []corev1.Container{{Name: sidecar}}
		}
		return true, p, kube.Tracker().Create(pods, p, p.Namespace)
	})
	i, err := identityProbe(t.Context(), sc)
	if err != nil {
		t.Fatal(err)
	}
	if len(i.Touches) != 3 || len(i.Heals) != 2 {
		t.Errorf("touches %q, heals %v", i.Touches, i.Heals)
	}
	var l told
	for range 2 { // the second time there is one that a killed drill has left
		if err := i.Before(t.Context(), l.tell); err != nil {
			t.Fatal(err)
		}
	}
	for _, st := range []stranger{outsider, foreigner} {
		n, err := kube.CoreV1().Namespaces().Get(t.Context(), st.namespace, metav1.GetOptions{})
		if err != nil || n.Labels["pod-security.kubernetes.io/enforce"] != "restricted" || (n.Labels["istio.io/rev"] == mesh.Revision) != st.meshed {
			t.Errorf("namespace %s: %v, %v", st.namespace, n.Labels, err)
		}
	}
	if got := outsider.heal().String(); got != "remove namespace nines-outside" {
		t.Errorf("in words: %q", got)
	}
	m := &mender{kube: kube}
	for range 2 {
		for _, h := range i.Heals {
			if _, err := m.step(t.Context(), h); err != nil {
				t.Error(err)
			}
		}
	}
	left, err := kube.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(left.Items) != 0 {
		t.Errorf("%v, left %v", err, left.Items)
	}

	other := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: outsider.namespace}}
	if _, err := kube.CoreV1().Namespaces().Create(t.Context(), other, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := plaintextProbe(t.Context(), sc); err == nil || !strings.Contains(err.Error(), "not a drill's") {
		t.Errorf("somebody else's namespace: %v", err)
	}
	if changed, err := m.step(t.Context(), outsider.heal()); changed || err != nil {
		t.Errorf("somebody else's namespace is removed: %t, %v", changed, err)
	}
}

func TestProbesNeedAQuestion(t *testing.T) {
	s, _ := site(1, probed()...)
	if _, err := plaintextProbe(t.Context(), s.sceneWithDice(t)); err == nil || !strings.Contains(err.Error(), "declares no GET") {
		t.Errorf("error = %v", err)
	}
	s, _ = site(1, meshed()...)
	s.Path = "/"
	if _, err := plaintextProbe(t.Context(), s.sceneWithDice(t)); err == nil {
		t.Error("it probes a service that has no Service")
	}
}
