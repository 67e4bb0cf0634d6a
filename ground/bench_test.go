//go:build ground

package ground

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/nines-ha/nines/ground/engine"
)

var (
	benchStarts = flag.Int("bench.starts", 3, "starts whose median BenchmarkGround/up reports")
	benchLoad   = flag.Duration("bench.load", 30*time.Second, "how long a load or an idle measurement lasts")
	benchSettle = flag.Duration("bench.settle", time.Minute, "pause between a start and an idle measurement")
)

const (
	benchName = "bench"
	benchTree = ".." // the repository, from this folder
	readRate  = 200  // requests a second
	manyPods  = 60
)

// BenchmarkGround measures what docs/performance.md lists, a line for each row,
// on grounds of its own that bin/nines brings up as a user would. It asserts
// nothing about time.
func BenchmarkGround(b *testing.B) {
	g := newBench(b)
	b.Run("up", g.benchUp)
	b.Run("idle", g.benchIdle)
	b.Run("power-on", g.benchPowerOn)
	b.Run("pods", g.benchPods)
	b.Run("read", g.benchRead)
	b.Run("two-regions", g.benchTwoRegions)
	b.Run("mesh", g.benchMesh)
}

// BenchmarkEngine reports how long the compile of each engine in the cache took.
// Only a compile into an empty build cache says anything; docs/performance.md has
// the command.
func BenchmarkEngine(b *testing.B) {
	cache, err := engine.CacheDir()
	must(b, err)
	source, err := engine.Source("")
	must(b, err)
	builder := &engine.Builder{CacheDir: cache, Source: source}
	engines, err := builder.Catalog()
	must(b, err)
	for _, e := range engines {
		b.Run(e.Name, func(b *testing.B) {
			status, err := builder.Status(e)
			must(b, err)
			if !status.Built {
				b.Skip("not built; run bin/nines engines build")
			}
			report(b, map[string]float64{"build-s": status.Took.Seconds()})
		})
	}
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func report(b *testing.B, metrics map[string]float64) {
	b.ReportMetric(0, "ns/op") // testing leaves a zero of this one out
	for unit, value := range metrics {
		b.ReportMetric(value, unit)
	}
}

// bench is a state directory in which the fleet runs under a name of its own.
type bench struct {
	nines, dir string
	status     *Status // of the ground that is up, if any
	regions    int
	mesh       bool // bring grounds up with one
}

func newBench(b *testing.B) *bench {
	if os.Geteuid() != 0 {
		b.Skip("the ground makes machines and needs root")
	}
	nines, err := filepath.Abs(filepath.Join(benchTree, "bin", "nines"))
	must(b, err)
	if _, err := os.Stat(nines); err != nil {
		b.Fatal("there is no bin/nines: run make build first")
	}
	dir, err := os.MkdirTemp("/var/tmp", "nines-") // short: it becomes part of the paths of sockets
	must(b, err)
	g := &bench{nines: nines, dir: dir}
	b.Setenv("XDG_STATE_HOME", dir)
	b.Cleanup(func() {
		g.down(b)
		os.RemoveAll(dir)
	})
	return g
}

// run runs bin/nines and gives its standard output.
func (g *bench) run(b *testing.B, args ...string) []byte {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, g.nines, args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	answer, err := cmd.Output()
	if err != nil {
		b.Fatalf("nines %s: %v\n%s", strings.Join(args, " "), err, said.String())
	}
	return answer
}

// describe writes examples/fleet/nines.yaml under the benchmark's name.
func (g *bench) describe(b *testing.B, regions int) string {
	text, err := os.ReadFile(filepath.Join(benchTree, "examples", "fleet", "nines.yaml"))
	must(b, err)
	source, err := filepath.Abs(filepath.Join(benchTree, "fleet", "vehicle"))
	must(b, err)
	source, err = filepath.Rel(g.dir, source)
	must(b, err)
	const region = "  westeurope: {zones: 3}\n"
	changes := [][2]string{{"name: fleet\n", "name: " + benchName + "\n"}, {"../../fleet/vehicle", source}}
	if regions == 2 {
		changes = append(changes, [2]string{region, region + "  northeurope: {zones: 3}\n"})
	}
	for _, c := range changes {
		if !bytes.Contains(text, []byte(c[0])) {
			b.Fatalf("examples/fleet/nines.yaml has no %q any more", c[0])
		}
		text = bytes.ReplaceAll(text, []byte(c[0]), []byte(c[1]))
	}
	file := filepath.Join(g.dir, fmt.Sprintf("nines-%d.yaml", regions))
	must(b, os.WriteFile(file, text, 0o600))
	return file
}

// start is one warm `nines up`: how long until it says ready, until every region
// has answered a first request, and the processor time that the ground took.
type start struct{ ready, answered, cpu time.Duration }

func (g *bench) up(b *testing.B, regions int) start {
	b.Helper()
	if g.status != nil {
		g.down(b)
	}
	file := g.describe(b, regions)
	began := time.Now()
	args := []string{"up", "--detach", "--json", "--file", file}
	if !g.mesh {
		args = append(args, "--without", "mesh")
	}
	answer := g.run(b, args...)
	s := start{ready: time.Since(began)}
	status := &Status{}
	must(b, json.Unmarshal(answer, status))
	g.status, g.regions = status, regions
	for _, e := range status.Endpoints {
		g.firstAnswer(b, e.URL)
	}
	s.answered = time.Since(began)
	s.cpu = g.usage(b)
	if len(status.Endpoints) != regions {
		b.Fatalf("%d ways in, want one for each of %d regions", len(status.Endpoints), regions)
	}
	return s
}

// firstAnswer asks a question that only the database can answer.
func (g *bench) firstAnswer(b *testing.B, url string) {
	b.Helper()
	client := &http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	g.until(b, time.Minute, "first answer", func() error {
		_, err := get(client, url+"/v1/vehicles?bbox=-180,-90,180,90&limit=1")
		return err
	})
}

func get(client *http.Client, url string) ([]byte, error) {
	resp, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return body, err
}

func (g *bench) until(b *testing.B, within time.Duration, what string, ask func() error) {
	b.Helper()
	deadline := time.Now().Add(within)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("%s: %v after %s", what, err, within)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (g *bench) down(b *testing.B) time.Duration {
	b.Helper()
	if g.status == nil {
		return 0
	}
	g.status = nil
	began := time.Now()
	g.run(b, "down", "--name", benchName)
	return time.Since(began)
}

// ensure has one region up.
func (g *bench) ensure(b *testing.B) *kubernetes.Clientset {
	b.Helper()
	if g.status == nil || g.regions != 1 || g.mesh != (g.status.Mesh != "") {
		g.up(b, 1)
	}
	config, err := clientcmd.BuildConfigFromFlags("", g.status.Kubeconfig)
	must(b, err)
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	must(b, err)
	return client
}

func median(d []time.Duration) float64 {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2].Seconds()
}

func (g *bench) benchUp(b *testing.B) {
	for range b.N {
		g.up(b, 1) // fills what caches are empty
		var ready, answered, ended, cpu []time.Duration
		for range *benchStarts {
			g.down(b)
			s := g.up(b, 1)
			ready, answered, cpu = append(ready, s.ready), append(answered, s.answered), append(cpu, s.cpu)
			ended = append(ended, g.down(b))
		}
		report(b, map[string]float64{
			"ready-s": median(ready), "answered-s": median(answered), "slowest-s": slices.Max(answered).Seconds(),
			"cpu-s": median(cpu), "down-s": median(ended), "slowest-down-s": slices.Max(ended).Seconds(),
		})
	}
}

func (g *bench) benchTwoRegions(b *testing.B) {
	for range b.N {
		s := g.up(b, 2)
		ended := g.down(b)
		report(b, map[string]float64{"ready-s": s.ready.Seconds(), "answered-s": s.answered.Seconds(), "cpu-s": s.cpu.Seconds(), "down-s": ended.Seconds()})
	}
}

// benchPowerOn waits until Kubernetes has noticed that a node is gone: its last
// word that it is Ready must not count.
func (g *bench) benchPowerOn(b *testing.B) {
	client := g.ensure(b)
	ground, err := Connect(benchName)
	must(b, err)
	for range b.N {
		var took []time.Duration
		for _, n := range g.status.Regions[0].Nodes {
			ready := func() bool {
				node, err := client.CoreV1().Nodes().Get(b.Context(), n.Name, metav1.GetOptions{})
				return err == nil && usable(node)
			}
			must(b, ground.Power(b.Context(), n.Name, false))
			g.until(b, time.Minute, n.Name+" is noticed to be off", func() error {
				if ready() {
					return errors.New("still ready")
				}
				return nil
			})
			began := time.Now()
			must(b, ground.Power(b.Context(), n.Name, true))
			g.until(b, time.Minute, n.Name+" is back", func() error {
				if !ready() {
					return errors.New("not ready")
				}
				return nil
			})
			took = append(took, time.Since(began))
			g.replicas(b, client, benchName, "vehicle", 3, 2*time.Minute)
		}
		report(b, map[string]float64{"ready-s": median(took), "slowest-s": slices.Max(took).Seconds()})
	}
}

// usable says whether pods may start on a node.
func usable(n *corev1.Node) bool {
	ready := slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
	return ready && len(n.Spec.Taints) == 0
}

func (g *bench) replicas(b *testing.B, client *kubernetes.Clientset, namespace, name string, n int32, within time.Duration) {
	b.Helper()
	g.until(b, within, fmt.Sprintf("%d pods of %s", n, name), func() error {
		d, err := client.AppsV1().Deployments(namespace).Get(b.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if d.Status.ObservedGeneration < d.Generation || d.Status.ReadyReplicas != n {
			return fmt.Errorf("%d are ready", d.Status.ReadyReplicas)
		}
		return nil
	})
}

// benchPods scales from 3 to 60: pods that do nothing, which is what Kubernetes
// and the nodes take, and the vehicle service with its probes and database.
func (g *bench) benchPods(b *testing.B) {
	client := g.ensure(b)
	labels := map[string]string{"app": "crowd"}
	pause := appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		TerminationGracePeriodSeconds: new(int64(0)),
		Containers:                    []corev1.Container{{Name: "pause", Image: "registry.k8s.io/pause:3.10.1"}},
	}}}
	vehicle, err := client.AppsV1().Deployments(benchName).Get(b.Context(), "vehicle", metav1.GetOptions{})
	must(b, err)
	pod := &vehicle.Spec.Template.Spec
	pod.TopologySpreadConstraints = nil                                                                         // they count the pods of the service
	pod.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("10m")                        // or the nodes would be full
	pod.Containers[0].Env = append(pod.Containers[0].Env, corev1.EnvVar{Name: "STORE_CONNECTIONS", Value: "2"}) // of the server's 200
	for _, c := range []struct {
		name, namespace string
		spec            appsv1.DeploymentSpec
	}{{"pause", "default", pause}, {"vehicle", benchName, vehicle.Spec}} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				deployments := client.AppsV1().Deployments(c.namespace)
				d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "crowd"}, Spec: c.spec}
				d.Spec.Replicas, d.Spec.Selector, d.Spec.Template.Labels = new(int32(3)), &metav1.LabelSelector{MatchLabels: labels}, labels
				_, err := deployments.Create(b.Context(), d, metav1.CreateOptions{})
				must(b, err)
				g.replicas(b, client, c.namespace, "crowd", 3, time.Minute)
				began := time.Now()
				_, err = deployments.Patch(b.Context(), "crowd", "application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, manyPods), metav1.PatchOptions{})
				must(b, err)
				g.replicas(b, client, c.namespace, "crowd", manyPods, 3*time.Minute)
				took := time.Since(began)
				must(b, deployments.Delete(b.Context(), "crowd", metav1.DeleteOptions{}))
				g.until(b, 2*time.Minute, "the pods are gone", func() error {
					pods, err := client.CoreV1().Pods(c.namespace).List(b.Context(), metav1.ListOptions{LabelSelector: "app=crowd"})
					if err == nil && len(pods.Items) > 0 {
						err = fmt.Errorf("%d are left", len(pods.Items))
					}
					return err
				})
				report(b, map[string]float64{"ready-s": took.Seconds()})
			}
		})
	}
}
