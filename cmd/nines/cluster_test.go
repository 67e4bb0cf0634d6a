package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// serveCluster answers as a cluster does in which a vehicle service is in no mesh.
// Scripts find the way to it in cluster.yaml.
func serveCluster(t *testing.T) func(*testscript.Env) error {
	labels := map[string]string{"app": "vehicle"}
	answers := map[string]any{
		"/apis/apps/v1/namespaces/fleet/deployments/vehicle": &appsv1.Deployment{
			TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
			ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "vehicle"},
			Spec:       appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}},
		},
		"/api/v1/namespaces/fleet/pods": &corev1.PodList{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"},
			Items: []corev1.Pod{{
				ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "vehicle-1", Labels: labels},
				Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
			}},
		},
		"/api/v1/nodes": &corev1.NodeList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NodeList"}},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.URL.Path]
		if !ok || r.Method != http.MethodGet {
			http.Error(w, "not in this cluster", http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(server.Close)
	config := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: prod, cluster: {server: %s}}]
users: [{name: me, user: {}}]
contexts: [{name: prod, context: {cluster: prod, user: me}}]
`, server.URL)
	return func(e *testscript.Env) error {
		return os.WriteFile(filepath.Join(e.WorkDir, "cluster.yaml"), []byte(config), 0o600)
	}
}
