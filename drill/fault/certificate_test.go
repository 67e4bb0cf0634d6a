package fault

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/ground/mesh"
	"github.com/nines-ha/nines/record"
)

// authorized is a mesh with an authority that is plugged in, a gateway of two pods,
// and a service with rules for its connections.
func authorized(t *testing.T) (*Site, *fake.Clientset, map[string][]byte) {
	t.Helper()
	files, err := mesh.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	list := append(meshed(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: mesh.System, Name: mesh.AuthoritySecret}, Data: files})
	deployment := func(name string) *appsv1.Deployment {
		i := slices.IndexFunc(list, func(o runtime.Object) bool { d, ok := o.(*appsv1.Deployment); return ok && d.Name == name })
		return list[i].(*appsv1.Deployment)
	}
	gateway := deployment(istiod).DeepCopy()
	gateway.Namespace, gateway.Name, gateway.Labels = mesh.IngressNamespace, mesh.Ingress, map[string]string{"istio": mesh.Ingress}
	web := deployment("web")
	web.Spec.Template.Annotations = map[string]string{proxyConfig: `{"concurrency":1,"proxyMetadata":{"A":"b"}}`}
	web.Status.Replicas, web.Status.UpdatedReplicas, web.Status.AvailableReplicas = 2, 2, 2
	list = append(list, gateway)
	for _, o := range list {
		if p, ok := o.(*corev1.Pod); ok && p.Namespace != mesh.System {
			p.Spec.InitContainers = []corev1.Container{{Name: sidecar}}
		}
	}
	list = append(list, pod("job", "n1", "Job")) // outside the mesh
	for _, namespace := range []string{"fleet", mesh.IngressNamespace} {
		list = append(list, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: mesh.TrustConfig}})
	}
	s, kube := site(1, list...)
	s.Mesh = true
	rule := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": map[string]any{"namespace": "fleet", "name": "web"},
		"spec": map[string]any{"trafficPolicy": map[string]any{"connectionPool": map[string]any{"tcp": map[string]any{"maxConnections": int64(7)}}}},
	}}
	s.Objects = dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{destinationRules: "DestinationRuleList"}, rule)
	return s, kube, files
}

// istiodOf does what istiod and the agents do: it tells the roots to namespaces, and
// each proxy renews every quarter of a minute.
type istiodOf struct {
	t       *testing.T
	kube    *fake.Clientset
	began   time.Time
	refused map[string]bool // proxies that cannot be asked
}

func (m *istiodOf) secret() map[string][]byte {
	s, err := m.kube.CoreV1().Secrets(mesh.System).Get(m.t.Context(), mesh.AuthoritySecret, metav1.GetOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	return s.Data
}

// tellRoots is what follows a change of the Secret.
func (m *istiodOf) tellRoots(a clienttesting.Action) (bool, runtime.Object, error) {
	var patch corev1.Secret
	if err := json.Unmarshal(a.(clienttesting.PatchAction).GetPatch(), &patch); err != nil {
		return true, nil, err
	}
	for _, namespace := range []string{"fleet", mesh.IngressNamespace} {
		told := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: mesh.TrustConfig}, Data: map[string]string{mesh.RootsTold: string(patch.Data[mesh.Roots])}}
		if err := m.kube.Tracker().Update(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, told, namespace); err != nil {
			return true, nil, err
		}
	}
	return false, nil, nil
}

// proxy has what istiod gave at the beginning of the quarter, and nothing new
// without istiod.
func (m *istiodOf) proxy(certificates map[string]ground.Certificate) func(context.Context, string, string) (ground.Certificate, error) {
	return func(_ context.Context, _, pod string) (ground.Certificate, error) {
		if m.refused[pod] {
			return ground.Certificate{}, errors.New("it does not answer")
		}
		quarter := int(time.Since(m.began) / (certificateLife / 4))
		serial := fmt.Sprint(quarter)
		known := certificates[pod]
		if replicas(m.t, m.kube) > 0 && known.Serial != serial {
			files := m.secret()
			known = ground.Certificate{Serial: serial, Expires: m.began.Add(time.Duration(quarter)*certificateLife/4 + certificateLife), Trusts: mesh.Fingerprints(files[mesh.Roots])}
			known.Root = issuer(m.t, files)
			certificates[pod] = known
		}
		return known, nil
	}
}

// issuer is the root above the authority.
func issuer(t *testing.T, files map[string][]byte) string {
	t.Helper()
	parse := func(text []byte) (*x509.Certificate, []byte) {
		block, rest := pem.Decode(text)
		if block == nil {
			t.Fatal("no root is above the authority")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return c, rest
	}
	ca, _ := parse(files["ca-cert.pem"])
	for rest := files[mesh.Roots]; ; {
		var root *x509.Certificate
		text := rest
		root, rest = parse(text)
		if ca.CheckSignatureFrom(root) == nil {
			return mesh.Fingerprints(text)[0]
		}
	}
}

func replicas(t *testing.T, kube *fake.Clientset) int32 {
	t.Helper()
	d, err := kube.AppsV1().Deployments(mesh.System).Get(t.Context(), istiod, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return *d.Spec.Replicas
}

// simulate prepares a rotation, or its variant, in a mesh that follows it.
func simulate(t *testing.T, variant string, refused ...string) (*Site, *fake.Clientset, *Injection, map[string][]byte) {
	t.Helper()
	s, kube, old := authorized(t)
	s.Variant = variant
	m := &istiodOf{t: t, kube: kube, began: time.Now(), refused: map[string]bool{}}
	for _, pod := range refused {
		m.refused[pod] = true
	}
	kube.PrependReactor("patch", "secrets", m.tellRoots)
	r, err := newRotation(t.Context(), s.sceneOf(t))
	if err != nil {
		t.Fatal(err)
	}
	r.ask = m.proxy(map[string]ground.Certificate{})
	i, err := r.injection(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s, kube, i, old
}

func settings(t *testing.T, s *Site) (annotation, environment, duration string) {
	t.Helper()
	web, err := s.Kube.AppsV1().Deployments("fleet").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	gateway, err := s.Kube.AppsV1().Deployments(mesh.IngressNamespace).Get(t.Context(), mesh.Ingress, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range gateway.Spec.Template.Spec.Containers {
		for _, e := range c.Env {
			environment += c.Name + " " + e.Name + "=" + e.Value + "\n"
		}
	}
	rule, err := s.Objects.Resource(destinationRules).Namespace("fleet").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tcp, _, _ := unstructured.NestedMap(rule.Object, "spec", "trafficPolicy", "connectionPool", "tcp")
	if tcp["maxConnections"] != int64(7) {
		t.Errorf("connections are %v", tcp)
	}
	duration, _ = tcp["maxConnectionDuration"].(string)
	return web.Spec.Template.Annotations[proxyConfig], environment, duration
}

func TestCertificateRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, kube, i, old := simulate(t, "")
		before, _, _ := settings(t, s)
		var l told
		if err := i.Before(t.Context(), l.tell); err != nil {
			t.Fatal(err)
		}
		annotation, environment, duration := settings(t, s)
		if d := cmp.Diff(`{"concurrency":1,"proxyMetadata":{"A":"b","SECRET_GRACE_PERIOD_RATIO":"0.75","SECRET_TTL":"1m0s"}}`, annotation); d != "" {
			t.Error(d)
		}
		if want := "istio-proxy SECRET_GRACE_PERIOD_RATIO=0.75\nistio-proxy SECRET_TTL=1m0s\n"; environment != want || duration != "5s" {
			t.Errorf("environment %q, connections of %q", environment, duration)
		}
		first := mesh.Fingerprints(old[mesh.Roots])[0]
		var next string
		all := map[string][]record.Event{}
		err := i.Inject(t.Context(), func(e record.Event) {
			if e.Kind == record.CertificateKind {
				all[e.Name] = append(all[e.Name], e)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		m := &istiodOf{t: t, kube: kube}
		if next = mesh.Fingerprints(m.secret()[mesh.Roots])[0]; next == first || issuer(t, m.secret()) != next || len(mesh.Fingerprints(m.secret()[mesh.Roots])) != 1 {
			t.Errorf("root %s after %s", next, first)
		}
		if len(all) != 4 { // two of the service, two gateways
			t.Errorf("%d proxies were asked", len(all))
		}
		for pod, events := range all {
			var roots []string
			for _, e := range events {
				if accepts := slices.Contains(e.Certificate.Trusts, e.Certificate.Root); !accepts || e.Certificate.Left <= 0 {
					t.Errorf("%s: %+v", pod, e.Certificate)
				}
				roots = append(roots, fmt.Sprint(e.State, " ", strings.NewReplacer(first, "old", next, "new").Replace(fmt.Sprint(e.Certificate.Root, e.Certificate.Trusts))))
			}
			want := []string{"issued old[old new]", "rotated new[old new]", "rotated new[new]"}
			if len(roots) < 5 || !slices.Equal(roots[:3], want) || roots[len(roots)-1] != want[2] {
				t.Errorf("%s: %q", pod, roots)
			}
		}
		for _, h := range i.Heals {
			if _, err := patchObject(t.Context(), s.Kube, s.Objects, h); err != nil {
				t.Error(err)
			}
			if text := h.String(); !strings.HasPrefix(text, "give "+h.Kind+" ") {
				t.Errorf("in words: %q", text)
			}
		}
		if after, environment, duration := settings(t, s); after != before || environment != "" || duration != "" {
			t.Errorf("healed to %q, %q, %q", after, environment, duration)
		}
	})
}

// Without istiod certificates grow old, and nothing is renewed before it is healed.
func TestRotationStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, kube, i, old := simulate(t, RotationStopped)
		if err := i.Before(t.Context(), (&told{}).tell); err != nil {
			t.Fatal(err)
		}
		if want := (Heal{Do: "scale", Namespace: mesh.System, Name: istiod, Replicas: 2}); !cmp.Equal(want, i.Heals[0]) || !strings.Contains(i.Touches[2], "stays away") {
			t.Errorf("heals %v, touches %q", i.Heals, i.Touches)
		}
		began, states := time.Now(), ""
		err := i.Inject(t.Context(), func(e record.Event) {
			if e.Kind == record.CertificateKind {
				states += e.State + " "
			}
		})
		if err != nil || replicas(t, kube) != 0 {
			t.Errorf("%v, %d replicas of istiod", err, replicas(t, kube))
		}
		if lasted := time.Since(began); lasted < certificateLife+10*time.Second || states != "issued issued issued issued " {
			t.Errorf("certificates are %sin %s", states, lasted)
		}
		if got := (&istiodOf{t: t, kube: kube}).secret(); string(got["ca-cert.pem"]) != string(old["ca-cert.pem"]) {
			t.Error("it replaced the authority")
		}
	})
}

// The first root is trusted as long as one proxy has not followed.
func TestRotationWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, kube, i, _ := simulate(t, "", "gateway-2")
		if err := i.Before(t.Context(), (&told{}).tell); err != nil {
			t.Fatal(err)
		}
		if err := i.Inject(t.Context(), (&told{}).tell); err != nil {
			t.Fatal(err)
		}
		if n := len(mesh.Fingerprints((&istiodOf{t: t, kube: kube}).secret()[mesh.Roots])); n != 2 {
			t.Errorf("%d roots are trusted in the end", n)
		}
	})
}

func TestCertificateRotationRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Site, *fake.Clientset) error
		want   string
	}{
		"an authority of istiod's own": {func(s *Site, kube *fake.Clientset) error {
			return kube.CoreV1().Secrets(mesh.System).Delete(t.Context(), mesh.AuthoritySecret, metav1.DeleteOptions{})
		}, "no Secret aks-istio-system/cacerts"},
		"others in the mesh": {func(s *Site, kube *fake.Clientset) error {
			p := pod("stranger", "n1", "ReplicaSet")
			p.Namespace, p.Spec.InitContainers = "elsewhere", []corev1.Container{{Name: sidecar}}
			return kube.Tracker().Add(p)
		}, "pod elsewhere/stranger, which is none of fleet, is in the mesh too"},
		"no rule": {func(s *Site, kube *fake.Clientset) error {
			return s.Objects.Resource(destinationRules).Namespace("fleet").Delete(t.Context(), "web", metav1.DeleteOptions{})
		}, "no DestinationRule web"},
		"no gateway": {func(s *Site, kube *fake.Clientset) error {
			return kube.AppsV1().Deployments(mesh.IngressNamespace).Delete(t.Context(), mesh.Ingress, metav1.DeleteOptions{})
		}, "no Deployment of the gateway"},
		"an annotation that is no YAML": {func(s *Site, kube *fake.Clientset) error {
			_, err := kube.AppsV1().Deployments("fleet").Patch(t.Context(), "web", "application/merge-patch+json", []byte(`{"spec":{"template":{"metadata":{"annotations":{"proxy.istio.io/config":"\t:"}}}}}`), metav1.PatchOptions{})
			return err
		}, "annotation proxy.istio.io/config of Deployment web"},
	} {
		s, kube, _ := authorized(t)
		if err := c.change(s, kube); err != nil {
			t.Fatal(err)
		}
		if _, err := newRotation(t.Context(), s.sceneOf(t)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	s, _, _ := authorized(t)
	if _, err := patchObject(t.Context(), s.Kube, s.Objects, Heal{Do: "patch", Kind: "Poem"}); err == nil {
		t.Error("it can patch a poem")
	}
	if changed, err := patchObject(t.Context(), s.Kube, s.Objects, Heal{Do: "patch", Kind: "Deployment", Namespace: "fleet", Name: "gone", Patch: "{}"}); changed || err != nil {
		t.Errorf("what is gone: %t, %v", changed, err)
	}
}
