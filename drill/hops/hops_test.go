package hops

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/nines-ha/nines/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const wait = 15 * time.Second

// cluster answers for pods of two namespaces and for the logs of their proxies, as
// an API server does with kubelets behind it.
type cluster struct {
	t *testing.T

	mu       sync.Mutex
	pods     map[string]*corev1.Pod // by namespace and name
	logs     map[string][]string    // stamped lines of the container that is there
	previous map[string][]string
	away     map[string]bool // pods whose node does not answer
	news     chan struct{}   // closed at each change
	asked    map[string]int  // streams by pod
}

func newCluster(t *testing.T) (*cluster, kubernetes.Interface) {
	c := &cluster{t: t, pods: map[string]*corev1.Pod{}, logs: map[string][]string{}, previous: map[string][]string{}, away: map[string]bool{}, news: make(chan struct{}), asked: map[string]int{}}
	server := httptest.NewServer(c)
	transport := &http.Transport{}
	kube, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, Transport: transport, QPS: 1000, Burst: 1000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
	})
	return c, kube
}

// change does something that all streams notice.
func (c *cluster) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.news)
	c.news = make(chan struct{})
}

func (c *cluster) pod(namespace, name, node, ip string, native bool) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid of " + name)},
		Spec:       corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip},
	}
	proxy := corev1.ContainerStatus{Name: Container, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	if native {
		p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "istio-init"}, proxy}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "vehicle"}}
	} else {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{proxy}
	}
	c.change(func() { c.pods[namespace+"/"+name] = p })
	return p
}

// say has a proxy write a line.
func (c *cluster) say(pod string, at time.Time, line string) {
	c.change(func() { c.logs[pod] = append(c.logs[pod], at.UTC().Format(time.RFC3339Nano)+" "+line) })
}

func access(id string, at time.Time, more string) string {
	return fmt.Sprintf(`{"at":%q,"ms":5,"status":503,"id":%q%s}`, at.UTC().Format(time.RFC3339Nano), id, more)
}

func status(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Reason: reason, Message: message, Code: int32(code)})
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	words := strings.Split(strings.TrimPrefix(req.URL.Path, "/api/v1/namespaces/"), "/")
	if len(words) == 4 && words[3] == "log" {
		c.log(w, req, words[0]+"/"+words[2])
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}}
	for _, p := range c.pods {
		if p.Namespace == words[0] {
			list.Items = append(list.Items, *p)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list)
}

func (c *cluster) log(w http.ResponseWriter, req *http.Request, pod string) {
	query := req.URL.Query()
	since, err := time.Parse(time.RFC3339, query.Get("sinceTime"))
	if err != nil || query.Get("container") != Container || query.Get("timestamps") != "true" {
		c.t.Errorf("a log is asked for with %s", req.URL.RawQuery)
	}
	out := http.NewResponseController(w)
	sent := 0
	for first := true; ; first = false {
		c.mu.Lock()
		news, there, away := c.news, c.pods[pod] != nil, c.away[pod]
		lines := slices.Clone(c.logs[pod])
		if query.Get("previous") == "true" {
			lines = slices.Clone(c.previous[pod])
		}
		if first {
			c.asked[pod]++
		}
		c.mu.Unlock()
		switch {
		case away && first:
			status(w, http.StatusInternalServerError, metav1.StatusReasonInternalError, "no route to host")
			return
		case away:
			panic(http.ErrAbortHandler)
		case !there && first:
			status(w, http.StatusNotFound, metav1.StatusReasonNotFound, "there is no such pod")
			return
		case query.Get("previous") == "true" && lines == nil:
			status(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, "previous terminated container not found")
			return
		}
		if sent > len(lines) { // another container
			return
		}
		for _, line := range lines[sent:] {
			stamp, _, _ := strings.Cut(line, " ")
			if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil && !at.Before(since) {
				fmt.Fprintln(w, line)
			}
		}
		sent = len(lines)
		_ = out.Flush()
		if !there || query.Get("follow") != "true" {
			return
		}
		select {
		case <-news:
		case <-req.Context().Done():
			return
		}
	}
}

type heard struct {
	mu  sync.Mutex
	all []record.Hop
}

func (h *heard) tell(hop record.Hop) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, hop)
}

func (h *heard) ids() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ids []string
	for _, hop := range h.all {
		ids = append(ids, hop.ID)
	}
	slices.Sort(ids)
	return ids
}

func (h *heard) hop(id string) record.Hop {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, hop := range h.all {
		if hop.ID == id {
			return hop
		}
	}
	return record.Hop{}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(wait)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("after %s still not: %s", wait, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// begin follows a cluster with a gateway pod and a replica.
func begin(t *testing.T) (*cluster, *Follower, *heard, time.Time) {
	c, kube := newCluster(t)
	c.pod("ingress", "gateway-0", "n1", "10.0.1.1", false)
	c.pod("fleet", "vehicle-0", "n2", "10.0.2.1", true)
	told := &heard{}
	started := time.Now()
	f := Start(t.Context(), Config{Kube: kube, Namespace: "fleet", Gateway: "ingress", Started: started, Tell: told.tell, Zone: func(node string) string { return "zone of " + node }})
	t.Cleanup(func() { f.cancel(); f.wg.Wait() })
	return c, f, told, started
}

func TestHops(t *testing.T) {
	c, f, told, started := begin(t)
	c.say("ingress/gateway-0", started.Add(-time.Minute), access("before", started.Add(-time.Minute), ""))
	c.say("ingress/gateway-0", started.Add(time.Second), "2026-01-02T15:04:05Z\tinfo\tready")
	c.say("ingress/gateway-0", started.Add(time.Second), access("a", started.Add(time.Second), `,"flags":"UF","upstream":"10.0.2.1:8080","cluster":"outbound|80||vehicle"`))
	c.say("ingress/gateway-0", started.Add(time.Second), access("b", started.Add(time.Second), strings.Repeat(" ", 2*mostLine)))
	c.say("fleet/vehicle-0", started.Add(time.Second), access("c", started.Add(time.Second), `,"cluster":"inbound|8080||"`))
	c.say("fleet/vehicle-0", started.Add(time.Second), access("", started.Add(time.Second), `,"flags":"UF","cluster":"outbound|5432||store"`))
	c.say("fleet/vehicle-0", started.Add(time.Second), access("", started.Add(time.Second), `,"flags":"DC","cluster":"inbound|8080||"`))
	eventually(t, "all is told", func() bool { return slices.Equal(told.ids(), []string{"", "a", "c"}) })
	want := record.Hop{ID: "a", At: time.Second, Length: 5 * time.Millisecond, Proxy: record.AtGateway, Pod: "gateway-0", Node: "n1", Zone: "zone of n1", Status: 503, Flags: []string{"UF"}, Upstream: "10.0.2.1:8080", UpstreamPod: "vehicle-0"}
	if got := told.hop("a"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := told.hop("c"); got.Proxy != record.Inbound || got.Pod != "vehicle-0" || got.UpstreamPod != "vehicle-0" {
		t.Errorf("%+v", got)
	}
	// A pod that is new.
	c.pod("fleet", "vehicle-1", "n1", "10.0.1.2", true)
	c.say("fleet/vehicle-1", started.Add(2*time.Second), access("d", started.Add(2*time.Second), ""))
	eventually(t, "the new pod is read", func() bool { return told.hop("d").Pod == "vehicle-1" })
	// What is written at the last moment.
	c.say("fleet/vehicle-1", started.Add(3*time.Second), access("e", started.Add(3*time.Second), ""))
	if got := f.Finish(t.Context()); len(got) != 1 || !strings.Contains(got[0], "1 lines of more than 16384 bytes") {
		t.Errorf("unread: %q", got)
	}
	if told.hop("e").Pod != "vehicle-1" {
		t.Errorf("the last line is missing: %v", told.ids())
	}
}

// A node goes, and comes back with containers that are new: nothing is told twice
// and nothing is missing.
func TestANodeGoesAndComesBack(t *testing.T) {
	c, f, told, started := begin(t)
	at := started.Add(time.Second).Truncate(time.Second)
	for _, id := range []string{"a", "b"} { // of one instant
		c.say("fleet/vehicle-0", at, access(id, at, ""))
	}
	eventually(t, "it is read", func() bool { return len(told.ids()) == 2 })
	c.change(func() { c.away["fleet/vehicle-0"] = true })
	c.say("fleet/vehicle-0", at, access("c", at, ""))
	c.say("fleet/vehicle-0", at.Add(time.Millisecond), access("d", at, ""))
	c.mu.Lock()
	before := c.asked["fleet/vehicle-0"]
	c.mu.Unlock()
	eventually(t, "it is asked again", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.asked["fleet/vehicle-0"] > before
	})
	c.change(func() {
		c.previous["fleet/vehicle-0"], c.logs["fleet/vehicle-0"] = c.logs["fleet/vehicle-0"], nil
		c.away["fleet/vehicle-0"] = false
	})
	c.say("fleet/vehicle-0", at.Add(time.Minute), access("e", at.Add(time.Minute), ""))
	eventually(t, "the rest is read", func() bool { return told.hop("e").ID != "" })
	if got := f.Finish(t.Context()); len(got) != 0 {
		t.Errorf("unread: %q", got)
	}
	if got := told.ids(); !slices.Equal(got, []string{"a", "b", "c", "d", "e"}) {
		t.Errorf("told: %v", got)
	}
}

// What went with its node is told, and what ended in order is not.
func TestWhatCannotBeReadIsTold(t *testing.T) {
	c, f, told, started := begin(t)
	c.pod("fleet", "vehicle-1", "n3", "10.0.3.1", true)
	c.pod("fleet", "vehicle-2", "n2", "10.0.2.2", true)
	for _, pod := range []string{"fleet/vehicle-0", "fleet/vehicle-1", "fleet/vehicle-2", "ingress/gateway-0"} {
		c.say(pod, started.Add(1500*time.Millisecond), access(pod, started, ""))
	}
	eventually(t, "all are read", func() bool { return len(told.ids()) == 4 })
	asked := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.asked["fleet/vehicle-1"]
	}
	before := asked()
	c.change(func() { c.away["fleet/vehicle-1"], c.away["ingress/gateway-0"] = true, true })
	eventually(t, "its log is asked for in vain", func() bool { return asked() > before })
	c.change(func() { delete(c.pods, "fleet/vehicle-1"); delete(c.pods, "fleet/vehicle-2") })
	c.change(func() { c.away["fleet/vehicle-1"] = false }) // its pod is no more
	eventually(t, "the pods are let go", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.logs) == 2
	})
	got := f.Finish(t.Context())
	if len(got) != 2 || !strings.HasPrefix(got[0], "the access log of fleet/vehicle-1 on n3 from 1.5 s on: ") || !strings.HasPrefix(got[1], "the access log of ingress/gateway-0 on n1 from 1.5 s on: ") || !strings.Contains(got[1], "no route to host") {
		t.Errorf("unread: %q", got)
	}
}

func TestBounds(t *testing.T) {
	c, f, told, started := begin(t)
	f.mu.Lock()
	f.told = record.MaxHops - 1
	f.mu.Unlock()
	for i := range 3 {
		c.say("fleet/vehicle-0", started.Add(time.Duration(i)*time.Second), access(fmt.Sprint(i), started, ""))
	}
	eventually(t, "what is too much is dropped", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.dropped == 2
	})
	if got := f.Finish(t.Context()); len(told.ids()) != 1 || len(got) != 1 || !strings.HasPrefix(got[0], "2 lines beyond the 200000") {
		t.Errorf("%d told, unread: %q", len(told.ids()), got)
	}
}

func TestNobodyAnswers(t *testing.T) {
	kube, err := kubernetes.NewForConfig(&rest.Config{Host: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	f := Start(t.Context(), Config{Kube: kube, Namespace: "fleet", Started: time.Now(), Tell: func(record.Hop) {}})
	if got := f.Finish(t.Context()); len(got) != 1 || !strings.HasPrefix(got[0], "no pods were found whose logs could be read: ") {
		t.Errorf("unread: %q", got)
	}
}
