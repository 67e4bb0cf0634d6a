package fault

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"github.com/nines-ha/nines/ground"
)

func TestAll(t *testing.T) {
	var names []string
	for _, f := range All() {
		names = append(names, f.Name)
		for _, line := range f.About {
			if line == "" || len(line) > 110 || strings.HasSuffix(line, ".") {
				t.Errorf("%s: %q is no line to show", f.Name, line)
			}
		}
	}
	want := strings.Fields("pod-kill node-loss node-hang node-drain zone-loss zone-partition zone-return rolling-restart scale-down apiserver-loss database-restart database-stall gray-pod slow-pod stalled-dependency overload gateway-loss istiod-loss injector-loss locality certificate-rotation plaintext-probe identity-probe shaping tracing")
	if !slices.Equal(names, want) {
		t.Errorf("faults are %q", names)
	}
}

func TestFind(t *testing.T) {
	for name, want := range map[string]string{
		"zone-loss": "",
		"zone-los":  `did you mean "zone-loss"`,
		"nodedrain": `did you mean "node-drain"`,
		"sharks":    "there are: apiserver-loss, certificate-rotation, database-restart, ",
	} {
		f, err := Find(name)
		if want == "" && (err != nil || f.Name != name) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %q, %v", name, f.Name, err)
		}
	}
}

func TestAvailable(t *testing.T) {
	unready := objects(1)
	unready[2].(*corev1.Pod).Status.Conditions = nil
	cordoned := objects(2)
	cordoned[1].(*corev1.Node).Spec.Unschedulable = true
	for _, test := range []struct {
		fault   string
		objects []runtime.Object
		want    string
	}{
		{"pod-kill", objects(1), ""},
		{"rolling-restart", objects(1), ""},
		{"scale-down", objects(2), ""},
		{"node-drain", objects(2), ""},
		{"pod-kill", nil, "namespace fleet has no Deployment web"},
		{"pod-kill", unready, "no pod of web is ready"},
		{"node-drain", objects(1), "node-drain needs 2 nodes that take pods, or nobody is left; there are 1"},
		{"node-drain", cordoned, "there are 1"},
		{"node-loss", objects(3), "node-loss needs a proving ground"},
		{"zone-return", objects(3), "zone-return needs a proving ground"},
		{"database-stall", objects(3), "database-stall needs a proving ground"},
		{"apiserver-loss", objects(3), "apiserver-loss needs a proving ground"},
		{"gray-pod", objects(3), "gray-pod needs a proving ground"},
		{"gateway-loss", objects(3), "gateway-loss needs a mesh, and web is in none"},
		{"plaintext-probe", objects(3), "plaintext-probe needs a proving ground"},
		{"tracing", objects(3), "tracing needs a proving ground"},
	} {
		s, kube := site(1, test.objects...)
		f, err := Find(test.fault)
		if err != nil {
			t.Fatal(err)
		}
		err = f.Available(s)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", test.fault, err, test.want)
		}
		for _, a := range kube.Actions() {
			if a.GetVerb() != "get" && a.GetVerb() != "list" {
				t.Errorf("%s: looking did %s %s", test.fault, a.GetVerb(), a.GetResource().Resource)
			}
		}
	}
	s, _ := site(1, objects(2)...)
	s.Ground = &ground.Client{}
	if f, _ := Find("database-stall"); f.Available(s) == nil || !strings.Contains(f.Available(s).Error(), "needs a managed database") {
		t.Errorf("a site without stores: %v", f.Available(s))
	}
	s.Mesh = true
	if f, _ := Find("tracing"); f.Available(s) == nil || !strings.Contains(f.Available(s).Error(), "has none (traces: {sample: 1%})") {
		t.Errorf("a site without traces: %v", f.Available(s))
	}
}

func prepare(t *testing.T, name string, s *Site) *Injection {
	t.Helper()
	f, err := Find(name)
	if err != nil {
		t.Fatal(err)
	}
	i, err := f.Prepare(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if len(i.Touches) == 0 {
		t.Error("it does not say what it touches")
	}
	return i
}

// The same seed chooses the same victims, and no node is safe from every seed.
func TestSeedChooses(t *testing.T) {
	victims := map[string]bool{}
	for seed := range uint64(40) {
		a, _ := site(seed, objects(5)...)
		b, _ := site(seed, objects(5)...)
		first, second := prepare(t, "pod-kill", a).Touches, prepare(t, "pod-kill", b).Touches
		if !slices.Equal(first, second) {
			t.Fatalf("seed %d: %q and %q", seed, first, second)
		}
		victims[first[0]] = true
		c, _ := site(seed, objects(5)...)
		if heals := prepare(t, "node-drain", c).Heals; len(heals) != 2 || heals[0].Node >= heals[1].Node {
			t.Fatalf("heals = %v", heals)
		}
	}
	if len(victims) != 5 {
		t.Errorf("40 seeds choose among %d of 5", len(victims))
	}
}

func TestPodKill(t *testing.T) {
	s, kube := site(1, objects(3)...)
	var l told
	if err := prepare(t, "pod-kill", s).Inject(t.Context(), l.tell); err != nil {
		t.Fatal(err)
	}
	deleted := 0
	for _, a := range kube.Actions() {
		if d, ok := a.(clienttesting.DeleteActionImpl); ok {
			deleted++
			if o := d.DeleteOptions; o.GracePeriodSeconds == nil || *o.GracePeriodSeconds != 0 || string(*o.Preconditions.UID) != "uid of "+d.Name {
				t.Errorf("options = %+v", o)
			}
			if l.read() != d.Name+" done" {
				t.Errorf("told %q", l.read())
			}
		}
	}
	if deleted != 1 {
		t.Errorf("deleted %d pods", deleted)
	}
}

// Nodes are two, or one where otherwise none would be left.
func TestDrainLeavesANode(t *testing.T) {
	for nodes, want := range map[int]int{2: 1, 3: 2, 5: 2} {
		s, _ := site(7, objects(nodes)...)
		if i := prepare(t, "node-drain", s); len(i.Heals) != want {
			t.Errorf("of %d nodes it drains %d: %q", nodes, len(i.Heals), i.Touches)
		}
	}
}

func TestDrain(t *testing.T) {
	list := append(objects(3), pod("agent", "n1", "DaemonSet"), pod("agent-2", "n2", "DaemonSet"), pod("agent-3", "n3", "DaemonSet"))
	s, kube := site(3, list...)
	refused := 0
	evicted := map[string]bool{}
	kube.PrependReactor("create", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if a.GetSubresource() != "eviction" {
			return false, nil, nil
		}
		e := a.(clienttesting.CreateAction).GetObject().(*policyv1.Eviction)
		if refused++; refused <= 2 {
			return true, nil, apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
		}
		if e.DeleteOptions.Preconditions == nil || string(*e.DeleteOptions.Preconditions.UID) != "uid of "+e.Name {
			t.Errorf("options = %+v", e.DeleteOptions)
		}
		evicted[e.Name] = true
		return true, nil, kube.Tracker().Delete(schema.GroupVersionResource{Version: "v1", Resource: "pods"}, e.Namespace, e.Name)
	})
	i := prepare(t, "node-drain", s)
	var l told
	if err := i.Inject(t.Context(), l.tell); err != nil {
		t.Fatal(err)
	}
	if len(evicted) != 2 || evicted["agent"] || evicted["agent-2"] || evicted["agent-3"] {
		t.Errorf("evicted %v", evicted)
	}
	for _, h := range i.Heals {
		n, err := s.Kube.CoreV1().Nodes().Get(t.Context(), h.Node, metav1.GetOptions{})
		if err != nil || !n.Spec.Unschedulable {
			t.Errorf("node %s is not cordoned: %v", h.Node, err)
		}
		if !strings.Contains(l.read(), h.Node+" done") {
			t.Errorf("told:\n%s", l.read())
		}
	}
	if refused != 4 {
		t.Errorf("asked %d times for evictions", refused)
	}
}

func TestDrainGivesUp(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer error
		want   string
	}{
		{"a budget that allows nothing", apierrors.NewTooManyRequests("it would violate the budget", 0), "it would violate the budget"},
		{"two budgets", apierrors.NewInternalError(errors.New("this pod has more than one PodDisruptionBudget")), "more than one"},
		{"no right", apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "web", errors.New("no")), "forbidden"},
	} {
		s, kube := site(3, objects(2)...)
		kube.PrependReactor("create", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) { return true, nil, test.answer })
		ctx, cancel := contextOf(t, 100*time.Millisecond)
		err := prepare(t, "node-drain", s).Inject(ctx, (&told{}).tell)
		cancel()
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "drain n") {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestDrainSparesWhatNobodyMakesAgain(t *testing.T) {
	s, _ := site(3, append(objects(3), pod("alone", "n1", ""))...)
	for _, h := range prepare(t, "node-drain", s).Heals {
		if h.Node == "n1" {
			t.Error("it drains the node of a pod that has no owner")
		}
	}
	s, _ = site(3, append(objects(2), pod("a", "n1", ""), pod("b", "n2", ""))...)
	f, _ := Find("node-drain")
	if _, err := f.Prepare(t.Context(), s); err == nil || !strings.Contains(err.Error(), "nobody would make pod fleet/a of node n1 again") {
		t.Errorf("error = %v", err)
	}
}

func TestScaleDown(t *testing.T) {
	for replicas, want := range map[int]int32{2: 1, 3: 2, 6: 4, 7: 5} {
		s, _ := site(1, objects(replicas)...)
		i := prepare(t, "scale-down", s)
		if i.Heals[0].Replicas != int32(replicas) {
			t.Errorf("heals = %v", i.Heals)
		}
		ctx, cancel := contextOf(t, 50*time.Millisecond) // nobody takes the pods away here
		err := i.Inject(ctx, (&told{}).tell)
		cancel()
		if err == nil || !strings.Contains(err.Error(), "pods are still there") {
			t.Errorf("error = %v", err)
		}
		d, err := s.Kube.AppsV1().Deployments("fleet").Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil || *d.Spec.Replicas != want {
			t.Errorf("from %d to %d replicas, want %d: %v", replicas, *d.Spec.Replicas, want, err)
		}
	}
	s, _ := site(1, objects(1)...)
	f, _ := Find("scale-down")
	if _, err := f.Prepare(t.Context(), s); err == nil || !strings.Contains(err.Error(), "one replica") {
		t.Errorf("error = %v", err)
	}
}

func TestScaleDownWithAutoscaler(t *testing.T) {
	s, _ := site(1, append(objects(3), autoscalerOf("web", 3, 9))...)
	i := prepare(t, "scale-down", s)
	want := []Heal{
		{Do: "autoscale", Namespace: "fleet", Name: "scaler", Least: 3, Replicas: 9},
		{Do: "scale", Namespace: "fleet", Name: "web", Replicas: 3},
	}
	if d := cmp.Diff(want, i.Heals); d != "" {
		t.Error(d)
	}
	ctx, cancel := contextOf(t, 50*time.Millisecond)
	defer cancel()
	_ = i.Inject(ctx, (&told{}).tell)
	bounds := func() [2]int32 {
		a, err := s.Kube.AutoscalingV2().HorizontalPodAutoscalers("fleet").Get(t.Context(), "scaler", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return [2]int32{*a.Spec.MinReplicas, a.Spec.MaxReplicas}
	}
	if got := bounds(); got != [2]int32{2, 2} {
		t.Errorf("bounds = %v", got)
	}
	m := &mender{kube: s.Kube}
	for round, changes := range []bool{true, false} {
		for _, h := range i.Heals {
			if changed, err := m.step(t.Context(), h); err != nil || changed != changes {
				t.Errorf("round %d: %s: %t, %v", round, h, changed, err)
			}
		}
	}
	if got := bounds(); got != [2]int32{3, 9} {
		t.Errorf("bounds = %v", got)
	}
	other, _ := site(1, append(objects(3), autoscalerOf("other", 3, 9))...)
	if i := prepare(t, "scale-down", other); len(i.Heals) != 1 {
		t.Errorf("heals = %v", i.Heals)
	}
}

func TestRolledOut(t *testing.T) {
	s, _ := site(1, objects(2)...)
	i := prepare(t, "rolling-restart", s)
	ctx, cancel := contextOf(t, 50*time.Millisecond)
	defer cancel()
	if err := i.Inject(ctx, (&told{}).tell); err == nil || !strings.Contains(err.Error(), "0 of 2 replicas are new") {
		t.Errorf("error = %v", err)
	}
	d, err := s.Kube.AppsV1().Deployments("fleet").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || d.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] == "" {
		t.Errorf("annotations = %v, %v", d.Spec.Template.Annotations, err)
	}
	d.Status.UpdatedReplicas, d.Status.Replicas, d.Status.AvailableReplicas = 2, 2, 2
	if err := complete(d); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(){
		"unseen":      func() { d.Generation++ },
		"old left":    func() { d.Status.Replicas = 3 },
		"unavailable": func() { d.Status.AvailableReplicas = 1 },
	} {
		whole := d.DeepCopy()
		spoil()
		if complete(d) == nil {
			t.Errorf("%s: it is complete", name)
		}
		d = whole
	}
}

func TestHealsAreData(t *testing.T) {
	heals := []Heal{
		{Do: "power", Node: "n1"},
		{Do: "join", Region: "westeurope", Zone: 2},
		{Do: "start", Part: "westeurope/apiserver"},
		{Do: "mend", Region: "westeurope", Namespace: "fleet", Name: "web-1"},
		{Do: "autoscale", Namespace: "fleet", Name: "web", Least: 2, Replicas: 9},
		{Do: "apply", Region: "westeurope", Files: []ground.File{{Path: "a.yaml", Body: []byte("a: \"b\"\n")}}},
	}
	text, err := json.Marshal(heals)
	if err != nil {
		t.Fatal(err)
	}
	var back []Heal
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(heals, back); d != "" {
		t.Error(d)
	}
}
