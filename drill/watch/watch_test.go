package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/record"
)

const patience = 10 * time.Second

func TestMain(m *testing.M) {
	if code, ok := ground.Stage(os.Args[1:], os.Stderr); ok {
		os.Exit(code)
	}
	goleak.VerifyTestMain(m)
}

// events keeps what a watch tells.
type events struct {
	mu  sync.Mutex
	all []record.Event
}

func (e *events) tell(event record.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, event)
}

// of are the states of one thing, in order.
func (e *events) of(kind, name string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var states []string
	for _, event := range e.all {
		if event.Kind == kind && event.Name == name {
			states = append(states, event.State)
		}
	}
	return states
}

func (e *events) last(kind, name string) record.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, event := range slices.Backward(e.all) {
		if event.Kind == kind && event.Name == name {
			return event
		}
	}
	return record.Event{}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("after %s still not: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// ordered fails when a thing goes back in time or is told what it was already.
func (e *events) ordered(t *testing.T) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	last := map[string]record.Event{}
	for _, event := range e.all {
		key := event.Kind + " " + event.Name
		before, known := last[key]
		if known && event.At < before.At {
			t.Errorf("%+v is before %+v", event, before)
		}
		if known && event.State == before.State && event.State != "ended" {
			t.Errorf("%+v is told after %+v", event, before)
		}
		if event.Seen < event.At {
			t.Errorf("%+v is seen before it was", event)
		}
		last[key] = event
	}
}

func start(t *testing.T, w *Watch) *events {
	t.Helper()
	told := &events{}
	w.Tell = told.tell
	if w.Started.IsZero() {
		w.Started = time.Now()
	}
	w.Namespace, w.Service, w.Region = "fleet", "vehicle", "westeurope"
	if err := w.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Stop()
		told.ordered(t)
	})
	return told
}

// small is a cluster of two nodes with a pod each.
func small(a *api, since metav1.Time) {
	a.deployment(2, 2, 2)
	for i, zone := range []string{"westeurope-1", "westeurope-2"} {
		node := fmt.Sprintf("%s-1", zone)
		a.node(node, zone, corev1.ConditionTrue, since)
		a.pod(fmt.Sprintf("vehicle-%d", i), node, since)
	}
	a.slice("vehicle-abc", at("vehicle-0", "westeurope-1-1", "westeurope-1", true, true, false), at("vehicle-1", "westeurope-2-1", "westeurope-2", true, true, false))
}

func before(d time.Duration) metav1.Time {
	return metav1.NewTime(time.Now().Add(-d).Truncate(time.Second))
}

func TestTheFirstEventsTellWhatIs(t *testing.T) {
	a, kube := newAPI(t)
	since := before(time.Minute)
	small(a, since)
	a.front(1)
	w := &Watch{Config: Config{Kube: kube}}
	told := start(t, w)
	for _, want := range [][3]string{
		{record.NodeKind, "westeurope-1-1", "ready"}, {record.Pod, "vehicle-0", "ready"}, {record.Pod, "vehicle-1", "ready"}, {record.Endpoint, "vehicle-1", "ready"},
	} {
		if got := told.of(want[0], want[1]); !slices.Equal(got, []string{want[2]}) {
			t.Errorf("%s %s is told as %v, want %s", want[0], want[1], got, want[2])
		}
	}
	if e := told.last(record.Pod, "vehicle-1"); e.At != since.Sub(w.Started) || e.Zone != "westeurope-2" || e.Node != "westeurope-2-1" {
		t.Errorf("%+v; want it ready since %s", e, since.Sub(w.Started))
	}
	if w.Ready() != 2 || len(w.Unsteady()) != 0 {
		t.Errorf("%d ready, %v", w.Ready(), w.Unsteady())
	}
	if err := w.Await(t.Context()); err != nil {
		t.Error(err)
	}
	s, nodes, err := w.Describe(t.Context())
	want := record.Service{Namespace: "fleet", Name: "vehicle", Address: "198.18.0.1:80", Replicas: 2, Least: 1, Version: "v7"}
	if err != nil || !reflect.DeepEqual(s, want) {
		t.Errorf("%+v, %v; want %+v", s, err, want)
	}
	if !slices.Equal(nodes, []record.Node{{Name: "westeurope-1-1", Zone: "westeurope-1"}, {Name: "westeurope-2-1", Zone: "westeurope-2"}}) {
		t.Errorf("nodes %v", nodes)
	}
}

func unready(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }

func ended(code int32, reason string, when metav1.Time) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, FinishedAt: when, ContainerID: "containerd://1"}}
	}
}

func restarted(code int32, reason string, when metav1.Time) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses[0].LastTerminationState = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, FinishedAt: when, ContainerID: "containerd://1"}}
	}
}

func deleted(grace int64, when metav1.Time) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		over := metav1.NewTime(when.Add(time.Duration(grace) * time.Second))
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &over, &grace
	}
}

func TestAContainerThatIsKilledIsToldAndComesBack(t *testing.T) {
	a, kube := newAPI(t)
	since := before(time.Minute)
	small(a, since)
	w := &Watch{Config: Config{Kube: kube, Started: time.Now().Add(-30 * time.Second)}}
	told := start(t, w)
	when := before(5 * time.Second)
	a.pod("vehicle-0", "westeurope-1-1", when, unready, ended(137, "Error", when))
	a.pod("vehicle-0", "westeurope-1-1", when, unready, restarted(137, "Error", when))
	a.pod("vehicle-0", "westeurope-1-1", before(4*time.Second), restarted(137, "Error", when))
	// Between two looks it ends and comes back.
	a.pod("vehicle-1", "westeurope-2-1", since, restarted(1, "OOMKilled", when))
	eventually(t, "both are back", func() bool {
		return slices.Equal(told.of(record.Pod, "vehicle-0"), []string{"ready", "ended", "running", "ready"}) &&
			slices.Equal(told.of(record.Pod, "vehicle-1"), []string{"ready", "ended", "ready"})
	})
	for _, e := range told.all {
		if e.State != "ended" {
			continue
		}
		want := map[string]string{"vehicle-0": "exit code 137", "vehicle-1": "OOMKilled"}[e.Name]
		if e.Reason != want || e.At != when.Sub(w.Started) {
			t.Errorf("%+v; want the reason %q and At %s", e, want, when.Sub(w.Started))
		}
	}
}

func TestAPodThatIsDeletedEndsOnce(t *testing.T) {
	a, kube := newAPI(t)
	small(a, before(time.Minute))
	told := start(t, &Watch{Config: Config{Kube: kube, Started: time.Now().Add(-30 * time.Second)}})
	when := before(3 * time.Second)
	a.pod("vehicle-0", "westeurope-1-1", when, deleted(30, when), func(p *corev1.Pod) {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI"})
	})
	one := at("vehicle-1", "westeurope-2-1", "westeurope-2", true, true, false)
	a.slice("vehicle-abc", at("vehicle-0", "westeurope-1-1", "westeurope-1", false, true, true), one)
	a.slice("vehicle-abc", at("vehicle-0", "westeurope-1-1", "westeurope-1", false, false, true), one)
	a.slice("vehicle-abc", one)
	a.pod("vehicle-0", "westeurope-1-1", when, deleted(30, when), unready, ended(0, "Completed", before(time.Second)))
	a.pod("vehicle-0", "westeurope-1-1", when, deleted(0, before(time.Second)), unready, ended(0, "Completed", before(time.Second)))
	a.remove(podsPath, "vehicle-0")
	eventually(t, "it is gone", func() bool { return told.last(record.Pod, "vehicle-0").State == "deleted" })
	if got := told.of(record.Pod, "vehicle-0"); !slices.Equal(got, []string{"ready", "terminating", "ended", "deleted"}) {
		t.Errorf("the pod was %v", got)
	}
	eventually(t, "its endpoint is gone", func() bool { return told.last(record.Endpoint, "vehicle-0").State == "gone" })
	if got := told.of(record.Endpoint, "vehicle-0"); !slices.Equal(got, []string{"ready", "terminating", "unready", "gone"}) {
		t.Errorf("the endpoint was %v", got)
	}
	for _, e := range told.all {
		if e.State == "terminating" && e.Kind == record.Pod && e.Reason != "EvictionByEvictionAPI" {
			t.Errorf("%+v does not say who took it away", e)
		}
	}
}

// What happened while the API server was away is told when it is back: in order
// where it still knows, from a new list where it does not.
func TestTheAPIServerGoesAndReturns(t *testing.T) {
	for _, forgotten := range []bool{false, true} {
		t.Run(fmt.Sprintf("forgotten=%t", forgotten), func(t *testing.T) {
			a, kube := newAPI(t)
			small(a, before(time.Minute))
			w := &Watch{Config: Config{Kube: kube}}
			told := start(t, w)
			for _, folder := range []string{nodesPath, podsPath, slicesPath} {
				eventually(t, "it watches", func() bool { return a.count(a.watches, folder) > 0 })
			}
			a.fall()
			eventually(t, "the loss shows", func() bool {
				return slices.ContainsFunc(w.Unsteady(), func(s string) bool { return strings.Contains(s, "API server does not answer") })
			})
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if err := w.Await(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "API server") {
				t.Errorf("Await says %v", err)
			}
			a.node("westeurope-1-1", "westeurope-1", corev1.ConditionUnknown, before(0))
			a.node("westeurope-1-1", "westeurope-1", corev1.ConditionTrue, before(0))
			a.remove(podsPath, "vehicle-0")
			a.pod("vehicle-2", "westeurope-1-1", before(0))
			a.slice("vehicle-abc", at("vehicle-2", "westeurope-1-1", "westeurope-1", true, true, false), at("vehicle-1", "westeurope-2-1", "westeurope-2", true, true, false))
			a.rise(forgotten)
			await, done := context.WithTimeout(t.Context(), patience)
			defer done()
			eventually(t, "all is told", func() bool {
				return told.last(record.Pod, "vehicle-0").State == "deleted" && told.last(record.Endpoint, "vehicle-0").State == "gone" && told.last(record.Pod, "vehicle-2").State == "ready"
			})
			if err := w.Await(await); err != nil {
				t.Error(err)
			}
			nodes := []string{"ready"}
			if !forgotten {
				nodes = []string{"ready", "unknown", "ready"}
			}
			eventually(t, "the node's turns are told", func() bool { return slices.Equal(told.of(record.NodeKind, "westeurope-1-1"), nodes) })
			if n := a.count(a.lists, podsPath); forgotten && n != 2 || !forgotten && n != 1 {
				t.Errorf("pods were listed %d times", n)
			}
		})
	}
}

func TestUnsteadySaysWhatIsNotInOrder(t *testing.T) {
	a, kube := newAPI(t)
	small(a, before(time.Minute))
	inside := &inside{status: groundOfTwo()}
	w := &Watch{Config: Config{Kube: kube}, look: inside.look}
	told := start(t, w)
	if err := w.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	cordoned := a.node("westeurope-2-1", "westeurope-2", corev1.ConditionTrue, before(time.Minute))
	cordoned.Spec.Unschedulable = true
	a.put(nodesPath, cordoned)
	a.pod("vehicle-0", "westeurope-1-1", before(0), unready)
	a.pod("vehicle-1", "westeurope-2-1", before(0), deleted(30, before(0)))
	a.slice("vehicle-abc", at("vehicle-0", "westeurope-1-1", "westeurope-1", true, true, false))
	a.deployment(2, 2, 1)
	since := time.Now().Add(-100 * time.Millisecond)
	inside.change(func(s *ground.WorldStatus) {
		r := &s.Regions[0]
		r.Zones[1].Cut, r.Zones[1].Since = true, since
		r.Nodes[1].State, r.Nodes[1].Since = "frozen", since
		r.Nodes[0].Cut, r.Nodes[0].Since = true, since
		r.Balancers[0].Backends[0].State, r.Balancers[0].Backends[0].Since, r.Balancers[0].Backends[0].Reason = "down", since, "no answer"
		s.Parts[0].PID, s.Parts[0].Since = 0, since
		s.Stores[0].Suspended = true
		s.Git = &ground.GitStatus{Part: "westeurope/git", Suspended: true}
	})
	for _, want := range []string{
		"deployment vehicle has 1 of 2 replicas available", "service vehicle has 1 ready endpoints, and 2 are wanted",
		"pod vehicle-0 is unready", "pod vehicle-1 is terminating", "node westeurope-2-1 is cordoned", "machine westeurope-2-1 is frozen",
		"machine westeurope-1-1 is cut off", "zone westeurope-2 is cut off", "the load balancer sees node westeurope-1-1 down: no answer",
		"part westeurope/etcd is not running", "store store is suspended", "the Git host is suspended",
	} {
		eventually(t, want, func() bool { return slices.Contains(w.Unsteady(), want) })
	}
	for _, want := range [][3]string{
		{record.Zone, "westeurope-2", "cut"}, {record.Machine, "westeurope-2-1", "frozen"}, {record.Machine, "westeurope-1-1", "cut"},
		{record.Backend, "westeurope-1-1", "down"}, {record.Part, "westeurope/etcd", "stopped"},
	} {
		if e := told.last(want[0], want[1]); e.State != want[2] || e.At != since.Sub(w.Started) {
			t.Errorf("%+v; want %s at %s", e, want[2], since.Sub(w.Started))
		}
	}
	if e := told.last(record.Part, "westeurope/store"); e.State != "stopped" || e.At != e.Seen {
		t.Errorf("the suspended store is told as %+v", e)
	}
	inside.change(func(s *ground.WorldStatus) { *s = groundOfTwo() })
	inside.fail(errors.New("nobody is there"))
	eventually(t, "the ground's silence is told", func() bool { return slices.Contains(w.Unsteady(), "the ground does not answer: nobody is there") })
	inside.fail(nil)
	small(a, before(time.Minute))
	if err := w.Await(t.Context()); err != nil {
		t.Error(err)
	}
}

// A pod that was made unwell is asked until nobody has asked it for two seconds.
func TestImpairedPods(t *testing.T) {
	a, kube := newAPI(t)
	small(a, before(time.Minute))
	inside := &inside{status: groundOfTwo()}
	told := start(t, &Watch{Config: Config{Kube: kube}, look: inside.look})
	const pod = "vehicle-0"
	set := func(text string) {
		inside.change(func(s *ground.WorldStatus) {
			if err := json.Unmarshal([]byte(`[{"namespace": "fleet", "pod": "vehicle-0", "node": "westeurope-1-1", `+text+`}]`), &s.Regions[0].Impaired); err != nil {
				t.Error(err)
			}
		})
	}
	at := func(when time.Time) string { return when.UTC().Format(time.RFC3339Nano) }
	set(`"since": "` + at(time.Now().Add(time.Hour)) + `", "requests": 0`) // nothing to tell yet
	set(`"requests": 3, "last": "` + at(time.Now().Add(time.Hour)) + `"`)
	eventually(t, "it is asked", func() bool { return told.last(record.Impaired, pod).State == record.Asked })
	set(`"requests": 9, "last": "` + at(time.Now().Add(-spareAfter)) + `"`)
	eventually(t, "it is spared", func() bool { return told.last(record.Impaired, pod).State == record.Spared })
	set(`"trouble": "killed"`)
	eventually(t, "nobody counts", func() bool { return told.last(record.Impaired, pod).Reason == "killed" })
	if e := told.last(record.Impaired, pod); e.State != record.Broken || e.Zone != "westeurope-1" {
		t.Errorf("told %+v", e)
	}
}

// A program that was killed may be back before anybody looks.
func TestAProgramThatComesBackAtOnceIsTold(t *testing.T) {
	a, kube := newAPI(t)
	small(a, before(time.Minute))
	inside := &inside{status: groundOfTwo()}
	told := start(t, &Watch{Config: Config{Kube: kube}, look: inside.look})
	inside.change(func(s *ground.WorldStatus) { s.Parts[0].PID, s.Parts[0].Restarts, s.Parts[0].Since = 99, 1, time.Now() })
	eventually(t, "it ended and is back", func() bool {
		return slices.Equal(told.of(record.Part, "westeurope/etcd"), []string{"ready", "stopped", "ready"})
	})
}

func TestWholeSecondsAreNotTakenForMore(t *testing.T) {
	started := time.Date(2026, 1, 1, 12, 0, 0, 250_000_000, time.UTC)
	second := func(n int) instant { return whole(started.Truncate(time.Second).Add(time.Duration(n) * time.Second)) }
	for _, test := range []struct {
		what   string
		before time.Duration // At of the turn before
		when   instant
		seen   time.Duration
		want   time.Duration
	}{
		{"unknown: when it was seen", 0, instant{}, 3 * time.Second, 3 * time.Second},
		{"exact", 0, exact(started.Add(2900 * time.Millisecond)), 3 * time.Second, 2900 * time.Millisecond},
		{"seen in the second that is told", 0, second(3), 3 * time.Second, 3 * time.Second},
		{"seen later", 0, second(3), 9 * time.Second, 2750 * time.Millisecond},
		{"in the second of the turn before", 2900 * time.Millisecond, second(3), 9 * time.Second, 2900 * time.Millisecond},
		{"dates another turn", 5 * time.Second, second(3), 9 * time.Second, 9 * time.Second},
	} {
		b := newBook(Config{Started: started}, false)
		b.tell(record.Event{Kind: record.Pod, Name: "p", State: "one", Seen: test.before}, instant{})
		b.tell(record.Event{Kind: record.Pod, Name: "p", State: "two", Seen: test.seen}, test.when)
		if got := b.take()[1].At; got != test.want {
			t.Errorf("%s: At is %s, want %s", test.what, got, test.want)
		}
	}
}

func TestStartSaysWhatIsMissing(t *testing.T) {
	_, kube := newAPI(t)
	_, err := Start(t.Context(), Config{Kube: kube, Namespace: "fleet", Service: "nobody", Tell: func(record.Event) {}})
	if err == nil || !strings.Contains(err.Error(), "fleet/nobody") {
		t.Errorf("error = %v", err)
	}
}

func budget(least int) *policyv1.PodDisruptionBudget {
	n := intstr.FromInt(least)
	return &policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("least-%d", least), Namespace: "fleet"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &n, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "vehicle"}}},
	}
}

// inside is the inside of a ground.
type inside struct {
	mu     sync.Mutex
	status ground.WorldStatus
	err    error
}

func (i *inside) look(context.Context) (ground.WorldStatus, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.status, i.err
}

// change gives the watch another status than the one it may be reading.
func (i *inside) change(f func(*ground.WorldStatus)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := groundOfTwo()
	f(&s)
	i.status = s
}

func (i *inside) fail(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.err = err
}

func groundOfTwo() (s ground.WorldStatus) {
	text := `{"parts": [{"name": "westeurope/etcd", "state": "ready", "log": "etcd.log", "pid": 7}, {"name": "westeurope/store", "state": "ready", "log": "store.log", "pid": 8}, {"name": "network", "state": "ready"}],
		"stores": [{"name": "store"}],
		"regions": [{"name": "westeurope", "zones": [{"zone": 1, "name": "westeurope-1"}, {"zone": 2, "name": "westeurope-2"}],
			"nodes": [{"name": "westeurope-1-1", "zone": 1, "state": "running"}, {"name": "westeurope-2-1", "zone": 2, "state": "running"}],
			"balancers": [{"name": "fleet/vehicle", "backends": [{"node": "westeurope-1-1", "state": "up"}, {"node": "westeurope-2-1", "state": "up"}]}]}]}`
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		panic(err)
	}
	return s
}
