package workload_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"

	"github.com/nines-ha/nines/drill/workload"
)

const rolloutPath = "/apis/argoproj.io/v1alpha1/namespaces/fleet/rollouts/vehicle"

const rollout = `{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
	"metadata": {"name": "vehicle", "namespace": "fleet", "generation": 7},
	"spec": {"replicas": 3, "restartAt": "2026-11-26T20:00:00Z", "selector": {"matchLabels": {"app": "vehicle"}},
		"template": {"metadata": {"labels": {"app": "vehicle"}}, "spec": {"containers": [{"name": "vehicle", "image": "x:v7"}]}}},
	"status": {"observedGeneration": "6", "phase": "Progressing", "replicas": 6, "updatedReplicas": 2, "readyReplicas": 6, "availableReplicas": 5}}`

// server has one object and keeps what is asked of it; everything else is 404, as
// where Argo Rollouts is not installed.
type server struct {
	path, body string

	mu    sync.Mutex
	asked []string
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.asked = append(s.asked, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Content-Type")+" "+string(body)))
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case s.path == r.URL.Path:
		_, _ = io.WriteString(w, s.body)
	case s.path == "down" && strings.Contains(r.URL.Path, "argoproj"):
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden})
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func serve(t *testing.T, path, body string) (*server, kubernetes.Interface) {
	t.Helper()
	s := &server{path: path, body: body}
	listening := httptest.NewServer(s)
	t.Cleanup(listening.Close)
	kube, err := kubernetes.NewForConfig(&rest.Config{Host: listening.URL})
	if err != nil {
		t.Fatal(err)
	}
	return s, kube
}

func TestGet(t *testing.T) {
	_, kube := serve(t, rolloutPath, rollout)
	d, err := workload.Get(t.Context(), kube, "fleet", "vehicle")
	if err != nil {
		t.Fatal(err)
	}
	want := appsv1.DeploymentStatus{ObservedGeneration: 6, Replicas: 6, UpdatedReplicas: 2, ReadyReplicas: 6, AvailableReplicas: 5}
	if d.Kind != "Rollout" || d.Name != "vehicle" || d.Generation != 7 || *d.Spec.Replicas != 3 || d.Spec.Selector.MatchLabels["app"] != "vehicle" ||
		d.Spec.Template.Spec.Containers[0].Image != "x:v7" || d.Spec.Template.Annotations[workload.RestartedAt] != "2026-11-26T20:00:00Z" {
		t.Errorf("read as %+v", d)
	}
	if got := d.Status; got.ObservedGeneration != want.ObservedGeneration || got.Replicas != want.Replicas || got.UpdatedReplicas != want.UpdatedReplicas || got.ReadyReplicas != want.ReadyReplicas || got.AvailableReplicas != want.AvailableReplicas {
		t.Errorf("status %+v, want %+v", got, want)
	}

	_, kube = serve(t, "/apis/apps/v1/namespaces/fleet/deployments/vehicle", `{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "vehicle", "namespace": "fleet"}, "spec": {"replicas": 4}}`)
	if d, err = workload.Get(t.Context(), kube, "fleet", "vehicle"); err != nil || d.Kind != "Deployment" || *d.Spec.Replicas != 4 {
		t.Errorf("Deployment: %+v, %v", d, err)
	}
}

// Who is not there is a Deployment that is not there, also without Argo Rollouts;
// and who may not be looked for is not taken for away.
func TestGetNothing(t *testing.T) {
	_, kube := serve(t, "", "")
	for name, kube := range map[string]kubernetes.Interface{"server": kube, "fake": fake.NewClientset()} {
		if _, err := workload.Get(t.Context(), kube, "fleet", "vehicle"); !apierrors.IsNotFound(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, kube = serve(t, "down", "")
	if _, err := workload.Get(t.Context(), kube, "fleet", "vehicle"); !apierrors.IsForbidden(err) {
		t.Errorf("forbidden: %v", err)
	}
	_, kube = serve(t, rolloutPath, "{")
	if _, err := workload.Get(t.Context(), kube, "fleet", "vehicle"); err == nil || !strings.Contains(err.Error(), "read Rollout vehicle") {
		t.Errorf("broken: %v", err)
	}
}

func TestChanges(t *testing.T) {
	s, kube := serve(t, rolloutPath, rollout)
	d, err := workload.Get(t.Context(), kube, "fleet", "vehicle")
	if err != nil {
		t.Fatal(err)
	}
	if err := workload.Scale(t.Context(), kube, d, 2, "drill"); err != nil {
		t.Error(err)
	}
	before := time.Now().Truncate(time.Second)
	if err := workload.Restart(t.Context(), kube, d, "drill"); err != nil {
		t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	const patched = "PATCH " + rolloutPath + "?fieldManager=drill application/merge-patch+json "
	if n := len(s.asked); n != 4 || s.asked[2] != patched+`{"spec":{"replicas":2}}` {
		t.Fatalf("asked %q", s.asked)
	}
	var body struct{ Spec struct{ RestartAt time.Time } }
	text, ok := strings.CutPrefix(s.asked[3], patched)
	if err := json.Unmarshal([]byte(text), &body); err != nil || !ok || body.Spec.RestartAt.Before(before) || body.Spec.RestartAt.After(time.Now()) {
		t.Errorf("restart: %q, %v", s.asked[3], err)
	}

	kube = fake.NewClientset(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "vehicle"}})
	if d, err = workload.Get(t.Context(), kube, "fleet", "vehicle"); err != nil {
		t.Fatal(err)
	}
	if err := workload.Scale(t.Context(), kube, d, 5, "drill"); err != nil {
		t.Error(err)
	}
	if err := workload.Restart(t.Context(), kube, d, "drill"); err != nil {
		t.Error(err)
	}
	if d, err = workload.Get(t.Context(), kube, "fleet", "vehicle"); err != nil || *d.Spec.Replicas != 5 || d.Spec.Template.Annotations[workload.RestartedAt] == "" {
		t.Errorf("Deployment: %+v, %v", d, err)
	}
}
