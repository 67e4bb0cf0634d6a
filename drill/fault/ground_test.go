//go:build ground

package fault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/ground/engine"
	"github.com/nines-ha/nines/ground/image"
)

const (
	namespace = "faults"
	region    = "westeurope"
)

const deployed = `
apiVersion: v1
kind: Namespace
metadata: {name: faults, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: faults}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  template:
    metadata: {labels: {app: web}}
    spec:
      securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
      terminationGracePeriodSeconds: 10
      tolerations:
      - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: web}}}
      containers:
      - name: server
        image: "IMAGE"
        ports: [{name: http, containerPort: 8080}]
        env: [{name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
        readinessProbe: {httpGet: {port: http}, periodSeconds: 1}
        lifecycle: {preStop: {sleep: {seconds: 3}}}
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
        resources: {requests: {cpu: 20m, memory: 16Mi}, limits: {memory: 64Mi}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: faults}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: faults}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80, targetPort: http}]}
`

// bring starts a ground in directories of the test's own, but with the machine's
// cache, and ends it with the test.
func bring(t *testing.T) *Site {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the ground's tests make machines and need root")
	}
	state, err := os.MkdirTemp("/var/tmp", "nines-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(state) })
	t.Setenv("XDG_STATE_HOME", state)
	config := ground.Config{Name: namespace, Regions: []ground.Region{{Name: region, Zones: 3, Nodes: 1}}, Stores: []string{"ledger"}}
	if config.Cache, err = engine.CacheDir(); err != nil {
		t.Fatal(err)
	}
	if config.Engines, err = engine.Source(""); err != nil {
		t.Fatal(err)
	}
	config.Files = func(ctx context.Context) (map[string][]ground.File, error) {
		store, err := image.Open(config.Cache + "/images")
		if err != nil {
			return nil, err
		}
		ref, err := store.BuildService(ctx, "registry.local/"+namespace+"/server", "testdata/server")
		body := strings.ReplaceAll(deployed, "IMAGE", ref)
		return map[string][]ground.File{region: {{Path: "workload.yaml", Body: []byte(body)}}}, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	owners, ended := make(chan *ground.Owner, 1), make(chan error, 1)
	go func() { ended <- ground.Up(ctx, config, func(o *ground.Owner) { owners <- o }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the ground ended with %v", err)
		}
		log, err := os.ReadFile(state + "/nines/" + namespace + "/logs/world.log")
		if err != nil || bytes.Contains(log, []byte("DATA RACE")) || bytes.Contains(log, []byte("panic: ")) {
			t.Errorf("the world's log, %v:\n%s", err, log)
		}
	})
	deadline := time.After(3 * time.Minute)
	for up := (<-chan struct{})(nil); ; {
		select {
		case o := <-owners:
			up = o.Ready()
			continue
		case err := <-ended:
			ended <- nil
			t.Fatal(err)
		case <-deadline:
			t.Fatal("not ready in 3 minutes")
		case <-up:
		}
		break
	}
	client, err := ground.Connect(namespace)
	if err != nil {
		t.Fatal(err)
	}
	status, err := client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := &Site{
		Region: region, Namespace: namespace, Service: "web", Stores: []string{"ledger"}, Seed: 4,
		Access: Access{Ground: namespace, Kubeconfig: status.Kubeconfig, Context: region},
	}
	if err := enter(s); err != nil {
		t.Fatal(err)
	}
	return s
}

// played is a fault under way on the ground.
type played struct {
	*testing.T
	site *Site
	told told
	*Injection
}

func TestFaultsOnGround(t *testing.T) {
	site := bring(t)
	for _, test := range []struct {
		name   string
		during func(*played) // beside the injection, if any
		after  func(*played) // when it is complete
	}{
		{"pod-kill", nil, podKilled},
		{"scale-down", nil, scaledDown},
		{"rolling-restart", nil, restarted},
		{"node-hang", nil, nodeHangs},
		{"node-loss", nil, nodeLost},
		{"node-drain", nil, drained},
		{"zone-partition", nil, zoneCut},
		{"zone-loss", nil, zoneLost},
		{"zone-return", nil, zoneBack},
		{"database-restart", nil, databaseRestarted},
		{"database-stall", databaseStalls, nil},
		{"apiserver-loss", apiserverAwayNow, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &played{T: t, site: site}
			p.steady()
			p.play(test.name, test.during, test.after)
			p.steady()
		})
		if t.Failed() {
			return // what is broken now would fail the rest, one by one
		}
	}
	for _, name := range []string{"node-loss", "node-hang"} {
		t.Run("killed drill of "+name, func(t *testing.T) {
			p := &played{T: t, site: site}
			p.steady()
			plan := drillPlan{Fault: name, Site: *site, Access: site.Access}
			plan.Site.Kube, plan.Site.Ground = nil, nil
			killedDrill(t, plan)
			if s := p.machines(); !slices.Contains(s, "stopped") && !slices.Contains(s, "frozen") {
				t.Logf("the healer was faster than a look: %v", s)
			}
			eventually(t, 30*time.Second, "the healer has ended", func() error { return unlocked(site.Access) })
			if s := p.machines(); slices.ContainsFunc(s, func(state string) bool { return state != "running" }) {
				t.Errorf("machines are %v", s)
			}
			p.steady()
		})
	}
}

func (p *played) play(name string, during, after func(*played)) {
	release, err := Lock(p.site)
	if err != nil {
		p.Fatal(err)
	}
	defer release()
	f, err := Find(name)
	if err != nil {
		p.Fatal(err)
	}
	if err := f.Available(p.site); err != nil {
		p.Fatal(err)
	}
	if p.Injection, err = f.Prepare(p.Context(), p.site); err != nil {
		p.Fatal(err)
	}
	p.Logf("touches: %s", strings.Join(p.Touches, "; "))
	healer, err := StartHealer(p.Context(), p.site.Access, p.Heals)
	if err != nil {
		p.Fatal(err)
	}
	defer healer.Release()
	healer.Tell = p.told.tell
	if err := p.Before(p.Context(), p.told.tell); err != nil {
		p.Error(err)
	}
	injected := make(chan error, 1)
	began := time.Now()
	go func() { injected <- p.Inject(p.Context(), p.told.tell) }()
	if during != nil {
		during(p)
	}
	if err := <-injected; err != nil {
		p.Error(err)
	}
	p.Logf("injected in %s", time.Since(began).Round(time.Millisecond))
	if after != nil {
		after(p)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	began = time.Now()
	if err := healer.Heal(ctx); err != nil {
		p.Error(err)
	}
	p.Logf("healed in %s; told:\n%s", time.Since(began).Round(time.Millisecond), p.told.read())
	if !strings.Contains(p.told.read(), done) {
		p.Error("nothing was told")
	}
}

func (p *played) status() ground.Status {
	p.Helper()
	s, err := p.site.Ground.Status(context.Background())
	if err != nil {
		p.Fatal(err)
	}
	return s
}

func (p *played) machines() (states []string) {
	for _, n := range p.status().Regions[0].Nodes {
		states = append(states, n.State)
	}
	return states
}

// machine is the state of the machine that the first step of healing is about.
func (p *played) machine() string {
	for _, n := range p.status().Regions[0].Nodes {
		if n.Name == p.Heals[0].Node {
			return n.State
		}
	}
	return "none"
}

// pods are the service's, those that are ending too.
func (p *played) pods() []corev1.Pod {
	p.Helper()
	list, err := p.site.Kube.CoreV1().Pods(namespace).List(context.Background(), metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil {
		p.Fatal(err)
	}
	return list.Items
}

// steady waits until everything is as it should be.
func (p *played) steady() {
	p.Helper()
	eventually(p.T, 2*time.Minute, "steady", func() error {
		s, err := p.site.Ground.Status(context.Background())
		if err != nil {
			return err
		}
		r := s.Regions[0]
		if len(r.CutZones) > 0 || s.Stores[0].Suspended {
			return fmt.Errorf("cut zones %v, suspended %t", r.CutZones, s.Stores[0].Suspended)
		}
		serving := map[string]bool{}
		pods, err := p.site.Kube.CoreV1().Pods(namespace).List(context.Background(), metav1.ListOptions{LabelSelector: "app=web"})
		if err != nil {
			return err
		}
		ready := 0
		for _, pod := range pods.Items {
			if podReady(&pod) && pod.DeletionTimestamp == nil {
				ready++
			}
			serving[pod.Spec.NodeName] = true
		}
		if ready != 3 || len(pods.Items) != 3 {
			return fmt.Errorf("%d of %d pods are ready", ready, len(pods.Items))
		}
		nodes, err := p.site.Kube.CoreV1().Nodes().List(context.Background(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, n := range nodes.Items {
			if !nodeReady(&n) || n.Spec.Unschedulable || len(n.Spec.Taints) > 0 {
				return fmt.Errorf("node %s is not in order: %v", n.Name, n.Spec.Taints)
			}
		}
		for _, n := range r.Nodes {
			if n.State != "running" || n.Cut {
				return fmt.Errorf("machine %s is %s", n.Name, n.State)
			}
		}
		for _, b := range r.Balancers {
			for _, backend := range b.Backends {
				if serving[backend.Node] && backend.State != "up" {
					return fmt.Errorf("backend %s is %s", backend.Node, backend.State)
				}
			}
		}
		return nil
	})
}

func podKilled(p *played) {
	victim, _, _ := strings.Cut(p.told.read(), " ")
	for _, pod := range p.pods() {
		if pod.Name == victim {
			p.Errorf("pod %s is still there", victim)
		}
	}
	// Its grace is ten seconds and its preStop three; the time in the log says what
	// was made of them.
	eventually(p.T, 20*time.Second, "its process has ended", func() error {
		files, err := filepath.Glob("/proc/[0-9]*/environ")
		if err != nil {
			return err
		}
		for _, file := range files {
			if body, err := os.ReadFile(file); err == nil && bytes.Contains(body, []byte("POD_NAME="+victim+"\x00")) {
				return errors.New(file)
			}
		}
		return nil
	})
}

func scaledDown(p *played) {
	if n := len(p.pods()); n != 2 {
		p.Errorf("%d pods", n)
	}
}

func restarted(p *played) {
	for _, pod := range p.pods() {
		if pod.Annotations["kubectl.kubernetes.io/restartedAt"] == "" || pod.DeletionTimestamp != nil {
			p.Errorf("pod %s is an old one", pod.Name)
		}
	}
}

func nodeHangs(p *played) {
	if s := p.machine(); s != "frozen" {
		p.Errorf("the machine is %s", s)
	}
	p.notReady(p.Heals[0].Node)
}

func nodeLost(p *played) {
	if s := p.machine(); s != "stopped" {
		p.Errorf("the machine is %s", s)
	}
	p.notReady(p.Heals[0].Node)
}

// notReady waits until Kubernetes has seen that a node is gone.
func (p *played) notReady(name string) {
	p.Helper()
	eventually(p.T, 45*time.Second, "node "+name+" is not ready", func() error {
		n, err := p.site.Kube.CoreV1().Nodes().Get(context.Background(), name, metav1.GetOptions{})
		if err == nil && nodeReady(n) {
			err = errors.New("it is ready")
		}
		return err
	})
}

func drained(p *played) {
	if len(p.Heals) != 2 {
		p.Fatalf("heals = %v", p.Heals)
	}
	for _, h := range p.Heals {
		n, err := p.site.Kube.CoreV1().Nodes().Get(context.Background(), h.Node, metav1.GetOptions{})
		if err != nil || !n.Spec.Unschedulable {
			p.Errorf("node %s is not cordoned: %v", h.Node, err)
		}
		for _, pod := range p.pods() {
			if pod.Spec.NodeName == h.Node {
				p.Errorf("pod %s is still on node %s", pod.Name, h.Node)
			}
		}
	}
}

func zoneCut(p *played) {
	if cut := p.status().Regions[0].CutZones; !slices.Equal(cut, []int{p.Heals[0].Zone}) {
		p.Errorf("cut zones: %v", cut)
	}
}

func zoneLost(p *played) {
	if s := p.machine(); s != "stopped" {
		p.Errorf("the machine is %s", s)
	}
}

func zoneBack(p *played) {
	if told := p.told.read(); !strings.HasSuffix(told, undone) {
		p.Errorf("told:\n%s", told)
	}
	n, err := p.site.Kube.CoreV1().Nodes().Get(context.Background(), p.Heals[0].Node, metav1.GetOptions{})
	if err != nil || !nodeReady(n) {
		p.Errorf("the node is not ready: %v", err)
	}
}

func databaseRestarted(p *played) {
	for _, part := range p.status().Parts {
		if part.Name == region+"/ledger" && part.Restarts == 0 {
			p.Errorf("the database has not started again: %+v", part)
		}
	}
}

func databaseStalls(p *played) {
	eventually(p.T, 3*time.Second, "the database is suspended", func() error {
		if !p.status().Stores[0].Suspended {
			return errors.New("it is not")
		}
		return nil
	})
}

func apiserverAwayNow(p *played) {
	ask := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := p.site.Kube.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	}
	eventually(p.T, 3*time.Second, "the API server is away", func() error {
		if ask() == nil {
			return errors.New("it answers")
		}
		return nil
	})
	for range 5 {
		if ask() == nil {
			p.Error("the API server answers although it is held down")
		}
	}
}
