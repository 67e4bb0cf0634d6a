package watch

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// An api is an API server of a few kinds: it lists, watches from a version on,
// forgets old versions, and can be down.
type api struct {
	t      *testing.T
	server *httptest.Server

	mu      sync.Mutex
	version int
	oldest  int // version that a watch may begin from
	down    bool
	objects map[string]metav1.Object // by path
	history []change
	news    chan struct{} // closed at each change
	lists   map[string]int
	watches map[string]int
}

type change struct {
	version      int
	kind, folder string
	object       any
}

const (
	nodesPath  = "/api/v1/nodes"
	podsPath   = "/api/v1/namespaces/fleet/pods"
	slicesPath = "/apis/discovery.k8s.io/v1/namespaces/fleet/endpointslices"
	deployPath = "/apis/apps/v1/namespaces/fleet/deployments"
)

func newAPI(t *testing.T) (*api, kubernetes.Interface) {
	a := &api{t: t, version: 100, objects: map[string]metav1.Object{}, news: make(chan struct{}), lists: map[string]int{}, watches: map[string]int{}}
	a.server = httptest.NewServer(a)
	transport := &http.Transport{}
	kube, err := kubernetes.NewForConfig(&rest.Config{Host: a.server.URL, Transport: transport, QPS: 1000, Burst: 1000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		a.server.Close()
	})
	return a, kube
}

func (a *api) changed() {
	close(a.news)
	a.news = make(chan struct{})
}

// put adds or changes an object.
func (a *api) put(folder string, o metav1.Object) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	o.SetResourceVersion(strconv.Itoa(a.version))
	name := path.Join(folder, o.GetName())
	kind := "ADDED"
	if a.objects[name] != nil {
		kind = "MODIFIED"
	}
	a.objects[name] = o
	a.record(change{a.version, kind, folder, o})
}

func (a *api) remove(folder, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	o := a.objects[path.Join(folder, name)]
	delete(a.objects, path.Join(folder, name))
	o.SetResourceVersion(strconv.Itoa(a.version))
	a.record(change{a.version, "DELETED", folder, o})
}

func (a *api) record(c change) {
	body, err := json.Marshal(c.object) // as it is now
	if err != nil {
		a.t.Error(err)
	}
	c.object = json.RawMessage(body)
	a.history = append(a.history, c)
	a.changed()
}

// fall breaks every watch and refuses to answer; rise ends that. When it has
// forgotten, nobody can resume.
func (a *api) fall() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = true
	a.changed()
}

func (a *api) rise(forgotten bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = false
	if forgotten {
		a.oldest = a.version
	}
	a.changed()
}

func (a *api) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	a.mu.Lock()
	if a.down {
		a.mu.Unlock()
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	folder := req.URL.Path
	if o := a.objects[folder]; o != nil {
		defer a.mu.Unlock()
		_ = json.NewEncoder(w).Encode(o)
		return
	}
	kind := map[string]string{
		nodesPath: "v1 NodeList", podsPath: "v1 PodList", slicesPath: "discovery.k8s.io/v1 EndpointSliceList",
		"/apis/policy/v1/namespaces/fleet/poddisruptionbudgets":               "policy/v1 PodDisruptionBudgetList",
		"/api/v1/namespaces/" + ingress + "/pods":                             "v1 PodList",
		"/apis/discovery.k8s.io/v1/namespaces/" + ingress + "/endpointslices": "discovery.k8s.io/v1 EndpointSliceList",
		"/apis/apps/v1/namespaces/" + ingress + "/deployments":                "apps/v1 DeploymentList",
	}[folder]
	if kind == "" {
		a.mu.Unlock()
		w.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Reason: metav1.StatusReasonNotFound, Code: 404})
		return
	}
	if req.URL.Query().Get("watch") == "" {
		defer a.mu.Unlock()
		a.lists[folder]++
		var group, name string
		_, _ = fmt.Sscan(kind, &group, &name)
		items := []metav1.Object{}
		for at, o := range a.objects {
			if path.Dir(at) == folder {
				items = append(items, o)
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": group, "kind": name, "metadata": map[string]string{"resourceVersion": strconv.Itoa(a.version)}, "items": items})
		return
	}
	a.watches[folder]++
	a.mu.Unlock()
	a.stream(w, req, folder)
}

func (a *api) stream(w http.ResponseWriter, req *http.Request, folder string) {
	from, _ := strconv.Atoi(req.URL.Query().Get("resourceVersion"))
	a.mu.Lock()
	forgotten := from < a.oldest
	a.mu.Unlock()
	if forgotten {
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "ERROR", "object": metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Reason: metav1.StatusReasonExpired, Code: http.StatusGone}})
		return
	}
	out := http.NewResponseController(w)
	for {
		a.mu.Lock()
		down, news := a.down, a.news
		var fresh []change
		for _, c := range a.history {
			if c.folder == folder && c.version > from {
				fresh = append(fresh, c)
			}
		}
		a.mu.Unlock()
		if down {
			panic(http.ErrAbortHandler)
		}
		for _, c := range fresh {
			_ = json.NewEncoder(w).Encode(map[string]any{"type": c.kind, "object": c.object})
			from = c.version
		}
		_ = out.Flush()
		select {
		case <-news:
		case <-req.Context().Done():
			return
		}
	}
}

func (a *api) node(name, zone string, ready corev1.ConditionStatus, since metav1.Time) *corev1.Node {
	n := &corev1.Node{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: zone}},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, LastTransitionTime: since, Reason: "KubeletSays"}}},
	}
	a.put(nodesPath, n)
	return n
}

// pod is a running one; change makes it something else.
func (a *api) pod(name, node string, since metav1.Time, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "fleet", UID: types.UID("uid of " + name), Labels: map[string]string{"app": "vehicle"}},
		Spec:       corev1.PodSpec{NodeName: node},
		Status: corev1.PodStatus{
			Phase:             corev1.PodRunning,
			Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: since}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "vehicle", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: since}}}},
		},
	}
	for _, c := range change {
		c(p)
	}
	a.put(podsPath, p)
	return p
}

func (a *api) slice(name string, endpoints ...discoveryv1.Endpoint) {
	a.put(slicesPath, &discoveryv1.EndpointSlice{
		TypeMeta:    metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta:  metav1.ObjectMeta{Name: name, Namespace: "fleet", Labels: map[string]string{discoveryv1.LabelServiceName: "vehicle"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: endpoints,
	})
}

func at(pod, node, zone string, ready, serving, terminating bool) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{
		Addresses: []string{"10.0.0.1"}, TargetRef: &corev1.ObjectReference{Name: pod}, NodeName: &node, Zone: &zone,
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
	}
}

func (a *api) deployment(want, updated, available int32) {
	a.put(deployPath, &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Name: "vehicle", Namespace: "fleet"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &want, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "vehicle"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "vehicle"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Image: "registry.local:5000/fleet/vehicle:v7@sha256:00"}}},
			},
		},
		Status: appsv1.DeploymentStatus{Replicas: want, UpdatedReplicas: updated, AvailableReplicas: available},
	})
}

func (a *api) front(least int) {
	a.put("/api/v1/namespaces/fleet/services", &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Name: "vehicle", Namespace: "fleet"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
		Status:     corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "198.18.0.1"}}}},
	})
	a.put("/apis/policy/v1/namespaces/fleet/poddisruptionbudgets", budget(least))
}

func (a *api) count(what map[string]int, folder string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return what[folder]
}
