package cloud

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	cloudproviderapi "k8s.io/cloud-provider/api"

	"github.com/nines-ha/nines/ground/balancer"
)

const patience = 20 * time.Second

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

func testConfig(t *testing.T, f Fabric, b Balancers) Config {
	return Config{
		Cluster: "fleet", Region: "westeurope", ClusterCIDR: netip.MustParsePrefix("10.100.0.0/16"), REST: &rest.Config{},
		Fabric: f, Balancers: b, Frontends: netip.MustParsePrefix("198.18.0.0/24"), Internal: netip.MustParsePrefix("10.10.239.0/24"),
		Zoned: true, Volumes: t.TempDir(), Log: slog.New(slog.DiscardHandler),
	}
}

// start runs the controllers until the test ends.
func start(t *testing.T, runs func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- runs(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("the controllers do not stop")
		}
	})
}

func newNode(n int) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name(n)},
		Spec: corev1.NodeSpec{
			PodCIDR: pods(n).String(), PodCIDRs: []string{pods(n).String()},
			Taints: []corev1.Taint{{Key: cloudproviderapi.TaintExternalCloudProvider, Value: "true", Effect: corev1.TaintEffectNoSchedule}},
		},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}
}

func pods(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 100, byte(n), 0}), 24)
}

func TestTheLifeOfANode(t *testing.T) {
	f, p := &fabric{machines: []Machine{machine(1)}}, &plane{}
	client := fake.NewClientset(newNode(1))
	start(t, func(ctx context.Context) error { return run(ctx, testConfig(t, f, p), client) })
	nodeLife(t, client, f)
}

// nodeLife follows node 1 from registration to deletion.
func nodeLife(t *testing.T, client kubernetes.Interface, f *fabric) {
	node := func() *corev1.Node {
		node, err := client.CoreV1().Nodes().Get(t.Context(), name(1), metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return node
	}
	eventually(t, "the node initialised", func() bool { return len(cloudTaints(node())) == 0 && len(node().Status.Addresses) == 2 })
	got := node()
	if got.Spec.ProviderID != machine(1).ProviderID {
		t.Errorf("provider id %q", got.Spec.ProviderID)
	}
	for label, want := range map[string]string{
		corev1.LabelTopologyRegion: "westeurope", corev1.LabelTopologyZone: "westeurope-1", corev1.LabelInstanceTypeStable: "Standard_D4ds_v5",
	} {
		if got.Labels[label] != want {
			t.Errorf("label %s is %q, not %q", label, got.Labels[label], want)
		}
	}
	addresses := []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.10.1.11"}, {Type: corev1.NodeHostName, Address: name(1)}}
	if !slices.Equal(got.Status.Addresses, addresses) {
		t.Errorf("addresses %v", got.Status.Addresses)
	}
	eventually(t, "a route to its pods", func() bool {
		route, found := f.route(name(1))
		return found && route.PodCIDR == pods(1) && route.NextHop == machine(1).Address
	})
	eventually(t, "its network available", func() bool {
		return slices.ContainsFunc(node().Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeNetworkUnavailable && c.Status == corev1.ConditionFalse
		})
	})

	ready := func(status corev1.ConditionStatus) {
		t.Helper()
		for {
			current := node()
			i := slices.IndexFunc(current.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeReady })
			current.Status.Conditions[i].Status = status
			_, err := client.CoreV1().Nodes().UpdateStatus(t.Context(), current, metav1.UpdateOptions{})
			if apierrors.IsConflict(err) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	f.change(func(m []Machine) []Machine { m[0].Running = false; return m })
	ready(corev1.ConditionUnknown)
	eventually(t, "the shutdown taint", func() bool { return slices.Contains(cloudTaints(node()), cloudproviderapi.TaintNodeShutdown) })
	f.change(func(m []Machine) []Machine { m[0].Running = true; return m })
	ready(corev1.ConditionTrue)
	eventually(t, "no shutdown taint", func() bool { return len(cloudTaints(node())) == 0 })

	f.change(func([]Machine) []Machine { return nil })
	ready(corev1.ConditionUnknown)
	eventually(t, "the node of a deleted machine gone", func() bool {
		_, err := client.CoreV1().Nodes().Get(t.Context(), name(1), metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	eventually(t, "its route gone", func() bool { _, found := f.route(name(1)); return !found })
}

func cloudTaints(node *corev1.Node) []string {
	var keys []string
	for _, taint := range node.Spec.Taints {
		if taint.Key == cloudproviderapi.TaintExternalCloudProvider || taint.Key == cloudproviderapi.TaintNodeShutdown {
			keys = append(keys, taint.Key)
		}
	}
	return keys
}

func TestTheLifeOfALoadBalancer(t *testing.T) {
	f, p := &fabric{machines: []Machine{machine(1), machine(2)}}, &plane{}
	client := fake.NewClientset(newNode(1), newNode(2))
	start(t, func(ctx context.Context) error { return run(ctx, testConfig(t, f, p), client) })
	// First the nodes: the service controller reads its cache for a node without
	// the lock that it writes a service under, which the race detector reports.
	eventually(t, "both nodes initialised", func() bool {
		nodes, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		return err == nil && len(cloudTaints(&nodes.Items[0]))+len(cloudTaints(&nodes.Items[1])) == 0
	})
	service := loadBalancer(corev1.ServicePort{Protocol: corev1.ProtocolTCP, Port: 80, NodePort: 30080})
	if _, err := client.CoreV1().Services("fleet").Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	balancerLife(t, client, p)
}

// balancerLife follows Service fleet/vehicle over nodes 1 and 2.
func balancerLife(t *testing.T, client kubernetes.Interface, p *plane) {
	services := client.CoreV1().Services("fleet")
	eventually(t, "an address", func() bool {
		service, err := services.Get(t.Context(), "vehicle", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ingress := service.Status.LoadBalancer.Ingress
		return len(ingress) == 1 && ingress[0].IP == "198.18.0.1" && *ingress[0].IPMode == corev1.LoadBalancerIPModeVIP
	})
	want := []balancer.Backend{
		{Node: name(1), Address: machine(1).Address, Zone: "westeurope-1"},
		{Node: name(2), Address: machine(2).Address, Zone: "westeurope-2"},
	}
	backends := func() []balancer.Backend {
		got, _ := p.get("fleet/vehicle")
		slices.SortFunc(got.backends, func(a, b balancer.Backend) int { return a.Address.Compare(b.Address) })
		return got.backends
	}
	eventually(t, "both nodes in the pool", func() bool { return slices.Equal(backends(), want) })

	exclude := []byte(`{"metadata":{"labels":{"node.kubernetes.io/exclude-from-external-load-balancers":""}}}`)
	if _, err := client.CoreV1().Nodes().Patch(t.Context(), name(2), "application/merge-patch+json", exclude, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the excluded node out of the pool", func() bool { return slices.Equal(backends(), want[:1]) })

	if _, err := services.Patch(t.Context(), "vehicle", "application/merge-patch+json", []byte(`{"spec":{"type":"NodePort"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the balancer gone", func() bool { _, found := p.get("fleet/vehicle"); return !found })
	eventually(t, "the address gone", func() bool {
		service, err := services.Get(t.Context(), "vehicle", metav1.GetOptions{})
		return err == nil && len(service.Status.LoadBalancer.Ingress) == 0 && len(service.Finalizers) == 0
	})
}

func TestAMachineMadeAnewIsAnother(t *testing.T) {
	second := machine(1)
	second.ProviderID = ProviderID("fleet", "westeurope", "apps", 7)
	m := machines{&fabric{machines: []Machine{second}}}
	node := newNode(1)
	if exists, err := m.InstanceExists(t.Context(), node); err != nil || !exists {
		t.Errorf("before it has an id: %v, %v", exists, err)
	}
	node.Spec.ProviderID = machine(1).ProviderID
	if exists, err := m.InstanceExists(t.Context(), node); err != nil || exists {
		t.Errorf("with the id of the first: %v, %v", exists, err)
	}
}

func TestARouteToAnOldAddressIsReplaced(t *testing.T) {
	f := &fabric{machines: []Machine{machine(1)}, routes: []Route{{Name: "r", Node: name(1), PodCIDR: pods(1), NextHop: netip.MustParseAddr("10.10.1.99")}}}
	list, err := routes{f}.ListRoutes(t.Context(), "fleet")
	if err != nil || len(list) != 1 || !list[0].Blackhole {
		t.Fatalf("%+v, %v", list, err)
	}
	start(t, func(ctx context.Context) error {
		return run(ctx, testConfig(t, f, &plane{}), fake.NewClientset(newNode(1)))
	})
	eventually(t, "the new route", func() bool { r, found := f.route(name(1)); return found && r.NextHop == machine(1).Address })
}

func TestRunTellsWhatIsMissing(t *testing.T) {
	if err := Run(t.Context(), Config{}); err == nil {
		t.Fatal("no error")
	}
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(t, &fabric{}, &plane{})
	cfg.Volumes = file
	if err := Run(t.Context(), cfg); err == nil {
		t.Fatal("a file is no directory for volumes")
	}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", patience, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestTwoRegionsInOneProcess(t *testing.T) {
	var fabrics []*fabric
	for _, region := range []string{"westeurope", "northeurope"} {
		f := &fabric{machines: []Machine{machine(1)}}
		fabrics = append(fabrics, f)
		cfg := testConfig(t, f, &plane{})
		cfg.Region = region
		client := fake.NewClientset(newNode(1))
		start(t, func(ctx context.Context) error { return run(ctx, cfg, client) })
	}
	for _, f := range fabrics {
		eventually(t, "a route in each", func() bool { _, found := f.route(name(1)); return found })
	}
}
