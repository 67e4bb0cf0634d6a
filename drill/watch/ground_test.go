//go:build ground

package watch

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/ground/engine"
	"github.com/nines-ha/nines/ground/image"
	"github.com/nines-ha/nines/record"
)

const deployed = `
apiVersion: v1
kind: Namespace
metadata: {name: fleet}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: vehicle, namespace: fleet}
spec:
  replicas: 2
  selector: {matchLabels: {app: vehicle}}
  template:
    metadata: {labels: {app: vehicle, app.kubernetes.io/version: v1}}
    spec:
      terminationGracePeriodSeconds: 2
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 2}
      - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 2}
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: vehicle}}}
      containers:
      - name: server
        image: "IMAGE"
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {port: http}, periodSeconds: 1}
        resources: {requests: {cpu: 50m, memory: 32Mi}, limits: {memory: 64Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: vehicle, namespace: fleet}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: vehicle}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: vehicle, namespace: fleet}
spec: {minAvailable: 50%, selector: {matchLabels: {app: vehicle}}}
`

const region = "westeurope"

// bring starts a ground of the test's own and ends it with the test.
func bring(t *testing.T) (*ground.Client, kubernetes.Interface) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("a ground makes machines and needs root")
	}
	state, err := os.MkdirTemp("/var/tmp", "nines-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(state) })
	t.Setenv("XDG_STATE_HOME", state)
	cache, err := engine.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	engines, err := engine.Source("")
	if err != nil {
		t.Fatal(err)
	}
	config := ground.Config{
		Name: "watched", Regions: []ground.Region{{Name: region, Zones: 2, Nodes: 1}}, Cache: cache, Engines: engines,
		Files: func(ctx context.Context) (map[string][]ground.File, error) {
			store, err := image.Open(cache + "/images")
			if err != nil {
				return nil, err
			}
			name, err := store.BuildService(ctx, "registry.local/proof/server", "../../ground/testdata/server")
			if err != nil {
				return nil, err
			}
			return map[string][]ground.File{region: {{Path: "vehicle.yaml", Body: []byte(strings.ReplaceAll(deployed, "IMAGE", name))}}}, nil
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	owners, ended := make(chan *ground.Owner, 1), make(chan error, 1)
	go func() { ended <- ground.Up(ctx, config, func(o *ground.Owner) { owners <- o }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the ground ended with %v", err)
		}
	})
	limit := time.After(3 * time.Minute)
	var ready <-chan struct{}
	for {
		select {
		case o := <-owners:
			ready = o.Ready()
			continue
		case <-ready:
		case err := <-ended:
			ended <- nil
			t.Fatal(err)
		case <-limit:
			t.Fatal("the ground is not ready in 3 minutes")
		}
		break
	}
	client, err := ground.Connect(config.Name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rest, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	kube, err := kubernetes.NewForConfig(rest)
	if err != nil {
		t.Fatal(err)
	}
	return client, kube
}

func TestGround(t *testing.T) {
	client, kube := bring(t)
	told := &events{}
	w, err := Start(t.Context(), Config{
		Kube: kube, Ground: client, Region: region, Namespace: "fleet", Service: "vehicle", Started: time.Now(), Tell: told.tell,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer told.ordered(t)
	defer w.Stop()
	defer func() {
		if t.Failed() {
			for _, e := range told.all {
				t.Logf("%9s seen %9s %s %s %s %s", e.At.Round(time.Millisecond), e.Seen.Round(time.Millisecond), e.Kind, e.Name, e.State, e.Reason)
			}
		}
	}()
	order(t, w)
	s, nodes, err := w.Describe(t.Context())
	if err != nil || s.Replicas != 2 || s.Least != 1 || s.Version != "v1" || s.Address == "" || len(nodes) != 2 || nodes[0].Zone != "westeurope-1" {
		t.Errorf("described as %+v, %v, %v", s, nodes, err)
	}

	t.Run("load from outside", func(t *testing.T) { fromOutside(t, client, w, s.Address) })

	t.Run("a pod is killed", func(t *testing.T) {
		victim := podOn(t, kube, "westeurope-1-1")
		if err := kube.CoreV1().Pods("fleet").Delete(t.Context(), victim, *metav1.NewDeleteOptions(0)); err != nil {
			t.Fatal(err)
		}
		wait(t, "the pod and its endpoint are gone", func() bool {
			return told.last(record.Pod, victim).State == "deleted" && told.last(record.Endpoint, victim).State == "gone"
		})
		order(t, w)
	})

	t.Run("a machine loses its power", func(t *testing.T) {
		const node = "westeurope-2-1"
		victim := podOn(t, kube, node)
		began := time.Now()
		if err := client.Power(t.Context(), node, false); err != nil {
			t.Fatal(err)
		}
		wait(t, "Kubernetes takes the pod away", func() bool { return told.last(record.Pod, victim).State == "terminating" })
		wait(t, "the load balancer sees it", func() bool { return told.last(record.Backend, node).State == "down" })
		sequence(t, told, began.Sub(w.Started), [3]string{record.Machine, node, "stopped"}, [3]string{record.Backend, node, "down"})
		sequence(t, told, began.Sub(w.Started), [3]string{record.Machine, node, "stopped"},
			[3]string{record.NodeKind, node, "unknown"}, [3]string{record.Endpoint, victim, "unready"}, [3]string{record.Pod, victim, "terminating"})
		if e := first(told, began.Sub(w.Started), record.Machine, node, "stopped"); e.At-began.Sub(w.Started) > 200*time.Millisecond {
			t.Errorf("the power was cut at %s, and is told to be at %s", began.Sub(w.Started), e.At)
		}
		if state := told.last(record.Endpoint, victim).State; state == "ready" {
			t.Error("its endpoint is ready although its node is not")
		}
		if unsteady := w.Unsteady(); !slices.Contains(unsteady, "machine westeurope-2-1 is stopped") {
			t.Errorf("unsteady: %q", unsteady)
		}
		if err := client.Power(t.Context(), node, true); err != nil {
			t.Fatal(err)
		}
		order(t, w)
		sequence(t, told, began.Sub(w.Started),
			[3]string{record.Machine, node, "stopped"}, [3]string{record.Machine, node, "running"}, [3]string{record.NodeKind, node, "ready"}, [3]string{record.Backend, node, "up"})
	})

	t.Run("the API server ends and returns", func(t *testing.T) {
		began := time.Since(w.Started)
		if err := client.Halt(t.Context(), region+"/apiserver", true); err != nil {
			t.Fatal(err)
		}
		wait(t, "the loss shows", func() bool {
			return slices.ContainsFunc(w.Unsteady(), func(s string) bool { return strings.HasPrefix(s, "the API server does not answer") })
		})
		if err := client.Halt(t.Context(), region+"/apiserver", false); err != nil {
			t.Fatal(err)
		}
		order(t, w)
		sequence(t, told, began, [3]string{record.Part, region + "/apiserver", "stopped"}, [3]string{record.Part, region + "/apiserver", "ready"})
		// The watches go on.
		victim := podOn(t, kube, "westeurope-1-1")
		if err := kube.CoreV1().Pods("fleet").Delete(t.Context(), victim, *metav1.NewDeleteOptions(0)); err != nil {
			t.Fatal(err)
		}
		wait(t, "the pod is gone", func() bool { return told.last(record.Pod, victim).State == "deleted" })
		order(t, w)
	})
}

// fromOutside asks as clients do, and finds each flow's backend.
func fromOutside(t *testing.T, client *ground.Client, w *Watch, address string) {
	outside, err := client.Outside(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	seen := map[string]bool{}
	for k := range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		conn, err := outside.Dial(ctx, k, address)
		cancel()
		if err != nil {
			t.Fatalf("client %d: %v", k, err)
		}
		defer conn.Close()
		seen[conn.LocalAddr().String()] = true
	}
	flows, err := client.Flows(t.Context(), region)
	if err != nil {
		t.Fatal(err)
	}
	nodes := map[string]int{}
	for _, f := range flows {
		if seen[f.Client] && f.Frontend == address {
			nodes[f.Node]++
		}
	}
	if nodes["westeurope-1-1"]+nodes["westeurope-2-1"] != 20 || len(nodes) != 2 {
		t.Errorf("20 flows went to %v", nodes)
	}
	conn, err := client.Dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if _, err := client.Dial(t.Context(), "nobody.postgres.database.azure.com:5432"); err == nil {
		t.Error("a store that is not there was dialled")
	}
	began := time.Now()
	const looks = 50
	for range looks {
		if _, err := client.World(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("a look at the ground takes %s", (time.Since(began) / looks).Round(10*time.Microsecond))
}

func order(t *testing.T, w *Watch) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	began := time.Now()
	if err := w.Await(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("in order after %s", time.Since(began).Round(time.Millisecond))
}

func wait(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("not in a minute: %s", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func podOn(t *testing.T, kube kubernetes.Interface, node string) string {
	t.Helper()
	list, err := kube.CoreV1().Pods("fleet").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list.Items {
		if p.Spec.NodeName == node && p.DeletionTimestamp == nil {
			return p.Name
		}
	}
	t.Fatalf("no pod is on %s", node)
	return ""
}

// first is the first such event after an instant.
func first(told *events, after time.Duration, kind, name, state string) record.Event {
	told.mu.Lock()
	defer told.mu.Unlock()
	for _, e := range told.all {
		if e.Kind == kind && e.Name == name && e.State == state && e.Seen >= after {
			return e
		}
	}
	return record.Event{}
}

// sequence demands that these were told, and came to be, one after the other.
func sequence(t *testing.T, told *events, after time.Duration, steps ...[3]string) {
	t.Helper()
	last := record.Event{At: after - time.Second}
	for _, s := range steps {
		e := first(told, after, s[0], s[1], s[2])
		if e.Kind == "" {
			t.Errorf("it is not told that %s %s is %s", s[0], s[1], s[2])
			continue
		}
		t.Logf("%s %s %s %s after", e.Kind, e.Name, e.State, (e.At - after).Round(time.Millisecond))
		if e.At < last.At-time.Second { // whole seconds
			t.Errorf("%s %s came at %s, before %s %s at %s", e.Kind, e.State, e.At, last.Kind, last.State, last.At)
		}
		last = e
	}
}
