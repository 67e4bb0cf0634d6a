//go:build ground

package ground

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nines-ha/nines/ground/mesh"
)

const (
	drillRate = 50 // requests a second, as drills send by default
	pushes    = 10
)

// benchMesh measures what a mesh costs: the start, its programs' memory, the way
// from the edge to the service with it and without it in the same run, and how
// long istiod takes to tell the proxies of a change.
func (g *bench) benchMesh(b *testing.B) {
	g.mesh = true
	defer func() { g.mesh = false }()
	b.Run("up", g.benchUp)
	b.Run("memory", func(b *testing.B) {
		g.ensure(b)
		for range b.N {
			metrics := map[string]float64{}
			for _, pid := range g.processes(b) {
				name, ok := meshPrograms[g.program(pid)]
				m, seen := memoryOf(pid)
				if !ok || !seen {
					continue
				}
				metrics[name+"-MB"] += m.proportional * 1024 / 1e6
				metrics[name+"-processes"]++
			}
			report(b, metrics)
		}
	})
	b.Run("push", g.benchPush)
	b.Run("with", g.benchEdge)
	g.mesh = false
	b.Run("without", g.benchEdge)
}

var meshPrograms = map[string]string{"envoy": "envoy", "pilot-agent": "agent", "pilot-discovery": "istiod", "install-cni": "cni"}

// benchEdge reads as benchRead does, through the way in, and counts the processor
// time of who takes part for 1,000 requests.
func (g *bench) benchEdge(b *testing.B) {
	g.ensure(b)
	entry := g.status.Endpoints[0].URL
	g.run(b, "replay", "--generate", "20", "--vehicles", "20", "--max", "--no-verify", "--url", entry)
	vins := g.vehicles(b, entry)
	for _, rate := range []int{drillRate, readRate} {
		b.Run(fmt.Sprintf("%d-per-second", rate), func(b *testing.B) {
			transport := &http.Transport{MaxIdleConnsPerHost: readRate, MaxConnsPerHost: readRate}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
			before := g.times(b)
			sent := 0
			load(b, rate, func(context.Context) error {
				_, err := get(client, entry+"/v1/vehicles/"+pick(vins))
				return err
			})
			sent = int((*benchLoad + 2*time.Second).Seconds() * float64(rate))
			for name, spent := range g.times(b) {
				b.ReportMetric((spent-before[name]).Seconds()*1000/float64(sent), name+"-s/1000")
			}
		})
	}
}

// times are the processor times so far of those whom a request passes.
func (g *bench) times(b *testing.B) map[string]time.Duration {
	groups := map[string]string{"envoy": "proxies", "pilot-agent": "proxies", "vehicle": "service", "postgres": "database"}
	spent := map[string]time.Duration{}
	for _, pid := range g.processes(b) {
		name, ok := groups[g.program(pid)]
		f := statOf(fmt.Sprintf("/proc/%d/stat", pid))
		if !ok || len(f) < 13 {
			continue
		}
		for _, ticks := range f[11:13] { // user and system, in hundredths
			n, _ := strconv.ParseInt(ticks, 10, 64)
			spent[name] += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return spent
}

// benchPush changes the number of replicas, and so the endpoints, and asks istiod
// how long it took from each change until every proxy had it, which it measures
// itself (pilot_proxy_convergence_time).
func (g *bench) benchPush(b *testing.B) {
	client := g.ensure(b)
	for range b.N {
		before, n := convergence(b, client)
		for i := range pushes {
			replicas := int32(3 + (i+1)%2)
			_, err := client.AppsV1().Deployments(benchName).Patch(b.Context(), "vehicle", "application/merge-patch+json",
				fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas), metav1.PatchOptions{})
			must(b, err)
			g.replicas(b, client, benchName, "vehicle", replicas, time.Minute)
		}
		after, m := convergence(b, client)
		if m == n {
			b.Fatal("istiod has told no proxy of anything")
		}
		report(b, map[string]float64{"push-ms": (after - before) / (m - n) * 1e3, "pushes": m - n})
	}
}

// convergence is the sum, in seconds, and the number of pushes of all istiods.
func convergence(b *testing.B, client *kubernetes.Clientset) (seconds, count float64) {
	pods, err := client.CoreV1().Pods(mesh.System).List(b.Context(), metav1.ListOptions{LabelSelector: "app=istiod"})
	must(b, err)
	for _, p := range pods.Items {
		body, err := client.CoreV1().Pods(mesh.System).ProxyGet("http", p.Name, "15014", "metrics", nil).DoRaw(b.Context())
		must(b, err)
		lines := bufio.NewScanner(bytes.NewReader(body))
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), " ")
			v, _ := strconv.ParseFloat(value, 64)
			switch name {
			case "pilot_proxy_convergence_time_sum":
				seconds += v
			case "pilot_proxy_convergence_time_count":
				count += v
			}
		}
	}
	return seconds, count
}
