//go:build ground

package ground

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nines-ha/nines/internal/cgroup"
	"github.com/nines-ha/nines/internal/namespace"
)

// benchIdle looks at a region that nobody asks anything, and then at its memory.
func (g *bench) benchIdle(b *testing.B) {
	g.up(b, 1)
	time.Sleep(*benchSettle)
	b.Run("cpu", func(b *testing.B) {
		for range b.N {
			before, began := g.usage(b), time.Now()
			time.Sleep(*benchLoad)
			report(b, map[string]float64{"cores": (g.usage(b) - before).Seconds() / time.Since(began).Seconds()})
		}
	})
	programs := map[string]memory{}
	var all memory
	for _, pid := range g.processes(b) {
		m, ok := memoryOf(pid)
		if !ok {
			continue // it has ended since
		}
		all.add(m)
		name := g.program(pid)
		m.add(programs[name])
		programs[name] = m
	}
	b.Run("memory", func(b *testing.B) { report(b, all.metrics()) })
	names := slices.SortedFunc(maps.Keys(programs), func(x, y string) int {
		return cmp.Compare(programs[y].proportional, programs[x].proportional)
	})
	for _, name := range names {
		b.Run("memory/"+name, func(b *testing.B) { report(b, programs[name].metrics()) })
	}
}

// memory is what processes take, in kB: of a page that several map each has its
// part, and what is not of a file is their own.
type memory struct{ proportional, own, processes float64 }

func (m *memory) add(other memory) {
	m.proportional += other.proportional
	m.own += other.own
	m.processes += other.processes
}

func (m memory) metrics() map[string]float64 {
	const mega = 1024.0 / 1e6
	return map[string]float64{"PSS-MB": m.proportional * mega, "own-MB": m.own * mega, "processes": m.processes}
}

func memoryOf(pid int) (m memory, ok bool) {
	body, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return m, false
	}
	for line := range strings.Lines(string(body)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		switch kb, _ := strconv.ParseFloat(f[1], 64); f[0] {
		case "Pss:":
			m.proportional = kb
		case "Pss_Anon:":
			m.own = kb
		}
	}
	m.processes = 1
	return m, true
}

// processes are those of the ground's control group, its owner and the guard.
func (g *bench) processes(b *testing.B) []int {
	control, err := cgroup.Open(group(benchName))
	must(b, err)
	pids := append(control.Processes(), g.status.PID)
	for _, pid := range children(g.status.PID) {
		if !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func children(parent int) []int {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	var pids []int
	for _, file := range files {
		if f := statOf(file); len(f) > 1 && f[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// statOf gives the fields of a stat file that follow the program's name, which
// may have blanks: state, parent, …
func statOf(file string) []string {
	body, _ := os.ReadFile(file)
	return strings.Fields(string(body[strings.LastIndexByte(string(body), ')')+1:]))
}

// program names a process; those of Nines by what they are.
func (g *bench) program(pid int) string {
	path, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	name := filepath.Base(path)
	if name != filepath.Base(g.nines) {
		return name
	}
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	switch _, rest, _ := strings.Cut(string(line), "\x00"); {
	case strings.HasPrefix(rest, "stage-world"):
		return "nines-world"
	case strings.HasPrefix(rest, guardStage):
		return "nines-guard"
	}
	return "nines-owner"
}

// usage is the processor time of the ground so far, its ended processes included.
func (g *bench) usage(b *testing.B) time.Duration {
	var total time.Duration
	name := group(benchName)
	if files, _ := filepath.Glob("/sys/fs/cgroup/*/" + name + "/cpuacct.usage"); len(files) > 0 { // v1
		body, err := os.ReadFile(files[0])
		must(b, err)
		ns, err := strconv.ParseInt(strings.TrimSpace(string(body)), 10, 64)
		must(b, err)
		total = time.Duration(ns)
	} else {
		body, err := os.ReadFile("/sys/fs/cgroup/" + name + "/cpu.stat")
		must(b, err)
		var us int64
		_, err = fmt.Sscanf(string(body), "usage_usec %d", &us)
		must(b, err)
		total = time.Duration(us) * time.Microsecond
	}
	control, err := cgroup.Open(name)
	must(b, err)
	inside := control.Processes()
	for _, pid := range append(children(g.status.PID), g.status.PID) {
		f := statOf(fmt.Sprintf("/proc/%d/stat", pid))
		if slices.Contains(inside, pid) || len(f) < 13 {
			continue
		}
		for _, ticks := range f[11:13] { // user and system, in hundredths
			n, _ := strconv.ParseInt(ticks, 10, 64)
			total += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return total
}

// benchRead asks for a vehicle's state at a constant rate, four ways in one run:
// the service's statement by itself from a pod, a pod's address, the load
// balancer, and the load balancer through the owner's loopback port.
func (g *bench) benchRead(b *testing.B) {
	client := g.ensure(b)
	entry := g.status.Endpoints[0].URL
	g.run(b, "replay", "--generate", "20", "--vehicles", "20", "--max", "--no-verify", "--url", entry)
	vins := g.vehicles(b, entry)
	pod, world := g.inside(b, "vehicle"), g.inside(b, "nines-world")

	pool := g.pool(b, pod)
	b.Run("statement", func(b *testing.B) {
		load(b, readRate, func(ctx context.Context) error {
			rows, err := pool.Query(ctx, "SELECT signal, value, time_ns FROM state JOIN vehicle ON id = vehicle_id WHERE vin = $1", pick(vins))
			if err != nil {
				return err
			}
			n := 0
			for rows.Next() {
				n++
			}
			if n == 0 && rows.Err() == nil {
				return errors.New("no rows")
			}
			return rows.Err()
		})
	})

	pods, err := client.CoreV1().Pods(benchName).List(b.Context(), metav1.ListOptions{})
	must(b, err)
	var bases []string
	for _, p := range pods.Items {
		bases = append(bases, "http://"+net.JoinHostPort(p.Status.PodIP, "8080"))
	}
	balancer := g.status.Regions[0].Balancers[0]
	for _, way := range []struct {
		name  string
		bases []string
		from  *namespace.Set
	}{
		{"pod", bases, world},
		{"balancer", []string{"http://" + net.JoinHostPort(balancer.Frontend.String(), strconv.Itoa(int(balancer.Ports[0].Port)))}, world},
		{"loopback", []string{entry}, nil},
	} {
		b.Run(way.name, func(b *testing.B) {
			transport := &http.Transport{MaxIdleConnsPerHost: readRate, MaxConnsPerHost: readRate}
			if way.from != nil {
				transport.DialContext = way.from.Dial
			}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
			load(b, readRate, func(context.Context) error {
				_, err := get(client, pick(way.bases)+"/v1/vehicles/"+pick(vins))
				return err
			})
		})
	}
}

func pick(list []string) string { return list[rand.N(len(list))] }

func (g *bench) vehicles(b *testing.B, entry string) []string {
	body, err := get(http.DefaultClient, entry+"/v1/vehicles?bbox=-180,-90,180,90&limit=100")
	must(b, err)
	var page struct {
		Vehicles []struct{ VIN string }
	}
	must(b, json.Unmarshal(body, &page))
	var vins []string
	for _, v := range page.Vehicles {
		vins = append(vins, v.VIN)
	}
	if len(vins) == 0 {
		b.Fatalf("no vehicles in %s", body)
	}
	return vins
}

// inside is the network of the first process of a program.
func (g *bench) inside(b *testing.B, program string) *namespace.Set {
	set, err := namespace.NetOf(g.first(b, program))
	must(b, err)
	b.Cleanup(set.Close)
	return set
}

func (g *bench) first(b *testing.B, program string) int {
	for _, pid := range g.processes(b) {
		if g.program(pid) == program {
			return pid
		}
	}
	b.Fatalf("no %s runs", program)
	return 0
}

// pool connects as the service does: from its network, with its credentials and
// as many connections as its three copies have.
func (g *bench) pool(b *testing.B, pod *namespace.Set) *pgxpool.Pool {
	root := fmt.Sprintf("/proc/%d/root", g.first(b, "vehicle"))
	field := func(name string) string {
		body, err := os.ReadFile(filepath.Join(root, "var/run/stores/telemetry", name))
		must(b, err)
		return strings.TrimSpace(string(body))
	}
	config, err := pgxpool.ParseConfig("host=replaced sslmode=require")
	must(b, err)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(field("ca.crt"))) {
		b.Fatal("ca.crt holds no certificate")
	}
	port, err := strconv.ParseUint(field("port"), 10, 16)
	must(b, err)
	conn := config.ConnConfig
	conn.Host, conn.Port, conn.Database, conn.User, conn.Password = field("host"), uint16(port), field("database"), field("username"), field("password")
	conn.TLSConfig, conn.Fallbacks = &tls.Config{RootCAs: roots, ServerName: conn.Host, MinVersion: tls.VersionTLS13}, nil
	conn.DialFunc = pod.Dial
	resolv, err := os.ReadFile(filepath.Join(root, "etc/resolv.conf"))
	must(b, err)
	_, server, _ := strings.Cut(string(resolv), "nameserver ")
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return pod.Dial(ctx, network, net.JoinHostPort(strings.Fields(server)[0], "53"))
	}}
	conn.LookupFunc = func(ctx context.Context, host string) ([]string, error) { return resolver.LookupHost(ctx, host+".") }
	conn.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	config.MaxConns, config.MinConns = 18, 6
	pool, err := pgxpool.NewWithConfig(b.Context(), config)
	must(b, err)
	b.Cleanup(pool.Close)
	return pool
}

// load runs ask so many times a second, whatever the answers take, and reports
// how long they took from the moment each was due.
func load(b *testing.B, rate int, ask func(context.Context) error) {
	for range b.N {
		openLoop(b, rate, 2*time.Second, ask) // connections
		took, failed := openLoop(b, rate, *benchLoad, ask)
		if len(took) == 0 {
			b.Fatal("no answer at all")
		}
		slices.Sort(took)
		at := func(q float64) float64 { return took[int(q*float64(len(took)-1))].Seconds() * 1e3 }
		report(b, map[string]float64{"p50-ms": at(0.5), "p99-ms": at(0.99), "max-ms": at(1), "answers": float64(len(took)), "errors": float64(failed)})
	}
}

func openLoop(b *testing.B, rate int, length time.Duration, ask func(context.Context) error) (took []time.Duration, failed int) {
	ctx, cancel := context.WithTimeout(b.Context(), length+15*time.Second)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	began := time.Now()
	for i := range int(length.Seconds() * float64(rate)) {
		due := began.Add(time.Duration(i) * time.Second / time.Duration(rate))
		time.Sleep(time.Until(due))
		wg.Go(func() {
			err := ask(ctx)
			passed := time.Since(due)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed++
				if failed == 1 {
					b.Log(err)
				}
				return
			}
			took = append(took, passed)
		})
	}
	wg.Wait()
	return took, failed
}
