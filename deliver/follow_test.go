package deliver

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// An api is an API server that knows some objects, and can be away.
type api struct {
	mu      sync.Mutex
	away    bool
	objects map[string]any
	asked   int
	patched []string
}

const (
	appPath  = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/vehicle-westeurope"
	roPath   = "/apis/argoproj.io/v1alpha1/namespaces/fleet/rollouts/vehicle"
	runsPath = "/apis/argoproj.io/v1alpha1/namespaces/fleet/analysisruns"
	setsPath = "/apis/apps/v1/namespaces/fleet/replicasets"
)

func newAPI(t *testing.T) (*api, *Follower) {
	a := &api{objects: map[string]any{}}
	server := httptest.NewServer(a)
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
	})
	client, err := dynamic.NewForConfig(&rest.Config{Host: server.URL, Transport: transport, QPS: 1000, Burst: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return a, &Follower{Argo: client, Timeout: 20 * time.Second, Regions: []Region{{Name: "westeurope", Application: "vehicle-westeurope", Objects: client}}}
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	if a.away {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodPatch {
		a.patched = append(a.patched, r.URL.Path)
	}
	o, ok := a.objects[r.URL.Path]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		o = &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "code": int64(404)}}
	}
	body, _ := o.(interface{ MarshalJSON() ([]byte, error) }).MarshalJSON()
	_, _ = w.Write(body)
}

func (a *api) holds(objects map[string]any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for path, o := range objects {
		if list, ok := o.([]unstructured.Unstructured); ok {
			o = &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "v1", "kind": "List"}, Items: list}
		}
		a.objects[path] = o
	}
}

func (a *api) leave(away bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.away = away
}

func TestFollow(t *testing.T) {
	a, f := newAPI(t)
	oldSet := set(t, "h1", oldImage, 3, 3)
	a.holds(map[string]any{
		appPath: app(t, before, "Synced", operation(before, "Succeeded", "")), roPath: ro(t, oldImage, "h1", "h1", "\n  phase: Healthy"),
		setsPath: []unstructured.Unstructured{oldSet}, runsPath: []unstructured.Unstructured{},
	})
	var kinds []string
	v := f.Follow(t.Context(), release, func(e Event) {
		kinds = append(kinds, e.Kind)
		switch {
		case e.Sync != nil && e.Sync.Revision == before:
			a.holds(map[string]any{
				appPath: app(t, wanted, "Synced", operation(wanted, "Succeeded", "")), roPath: ro(t, newImage, "h2", "h1", weight20),
				setsPath: []unstructured.Unstructured{oldSet, set(t, "h2", newImage, 1, 1)},
				runsPath: []unstructured.Unstructured{analysis(t, "vehicle-h2-4", "4", `[{name: success, phase: Running, count: 1}]`)},
			})
		case e.Metric != nil:
			a.leave(true)
		case e.Trouble != "":
			a.leave(false)
		case e.Kind == KindTrouble:
			a.holds(map[string]any{roPath: ro(t, newImage, "h2", "h2", "\n  phase: Healthy"), setsPath: []unstructured.Unstructured{oldSet, set(t, "h2", newImage, 3, 3)}})
		}
	})
	if v.Outcome != Promoted || v.Revision != wanted {
		t.Errorf("verdict %+v", v)
	}
	if got, want := strings.Join(kinds, " "), "sync sync rollout metric trouble trouble rollout"; got != want {
		t.Errorf("events %q, want %q", got, want)
	}
}

func TestFollowEnds(t *testing.T) {
	a, f := newAPI(t)
	a.holds(map[string]any{appPath: app(t, before, "Synced", "")})
	ctx, interrupt := context.WithCancel(t.Context())
	v := f.Follow(ctx, release, func(Event) { interrupt() })
	if v.Outcome != Interrupted || v.Because != "westeurope: Argo CD is at 111111111 still" {
		t.Errorf("after Ctrl-C: %+v", v)
	}
	f.Timeout = 10 * time.Millisecond
	if v := f.Follow(t.Context(), release, func(Event) {}); v.Outcome != TimedOut {
		t.Errorf("after a while: %+v", v)
	}
}

func TestNow(t *testing.T) {
	a, f := newAPI(t)
	states, err := f.Now(t.Context(), release)
	if err != nil || len(states) != 1 || !states[0].Absent || states[0].Canary {
		t.Errorf("nothing there: %+v, %v", states, err)
	}
	sets := []unstructured.Unstructured{set(t, "h1", oldImage, 3, 3), set(t, "h2", newImage, 1, 1)}
	for name, c := range map[string]struct {
		rollout *unstructured.Unstructured
		canary  bool
	}{
		"healthy":   {ro(t, oldImage, "h1", "h1", "\n  phase: Healthy"), false},
		"scales":    {ro(t, oldImage, "h1", "h1", "\n  phase: Progressing"), false},
		"a canary":  {ro(t, newImage, "h2", "h1", weight20), true},
		"aborted":   {ro(t, newImage, "h2", "h1", "\n  phase: Degraded\n  abort: true"), false},
		"hung":      {ro(t, newImage, "h2", "h1", "\n  phase: Degraded"), true},
		"brand new": {ro(t, newImage, "h2", "h1", "\n  phase: Progressing"), true},
	} {
		a.holds(map[string]any{roPath: c.rollout, setsPath: sets})
		states, err := f.Now(t.Context(), release)
		if err != nil || len(states) != 1 || states[0].Canary != c.canary || states[0].Absent {
			t.Errorf("%s: %+v, %v", name, states, err)
		}
	}
	a.leave(true)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := f.Now(ctx, release); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("away: %v", err)
	}
}

func TestRefresh(t *testing.T) {
	a, f := newAPI(t)
	if err := f.Refresh(t.Context()); err != nil {
		t.Errorf("no Application yet: %v", err)
	}
	a.holds(map[string]any{appPath: app(t, before, "Synced", "")})
	if err := f.Refresh(t.Context()); err != nil || len(a.patched) != 2 || a.patched[1] != appPath {
		t.Errorf("%q, %v", a.patched, err)
	}
	if in := f.In("northeurope"); len(in.Regions) != 0 || len(f.Regions) != 1 {
		t.Errorf("in another region: %+v", in.Regions)
	}
}
