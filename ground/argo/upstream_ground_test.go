//go:build ground

package argo

import (
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/nines-ha/nines/ground/engine"
)

// What holds for upstream's own files.
func TestUpstream(t *testing.T) {
	cache, err := engine.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	builder := &engine.Builder{CacheDir: cache, Source: filepath.Join("..", "..", "engines")}
	for _, name := range []string{"argo-cd.yaml", "argo-rollouts.yaml"} {
		if _, err := builder.File(name); err != nil {
			t.Fatal(err)
		}
	}
	c := example()
	c.File = builder.File
	images := map[string]bool{metricsImage: true} // its manifests are rendered
	for name, write := range map[string]func() ([]byte, error){
		"Argo CD": func() ([]byte, error) { return Manifests(c) }, "Argo Rollouts": func() ([]byte, error) { return Rollouts(c.File) },
	} {
		body, err := write()
		for at, o := range objects(t, body, err) {
			if strings.Contains(at, "dex") || strings.Contains(at, "notification") {
				t.Errorf("%s: %s is not left out", name, at)
			}
			if name == "Argo Rollouts" && o.GetKind() == "Secret" {
				t.Errorf("%s is for the repository, and has a secret", at)
			}
			var pod corev1.PodSpec
			switch o.GetKind() {
			case "Deployment":
				pod = decode[appsv1.Deployment](t, o).Spec.Template.Spec
			case "StatefulSet":
				pod = decode[appsv1.StatefulSet](t, o).Spec.Template.Spec
			default:
				continue
			}
			if len(pod.Tolerations) != 2 {
				t.Errorf("%s stays on a lost node", at)
			}
			for _, c := range append(pod.InitContainers, pod.Containers...) {
				images[c.Image] = true
				if c.ImagePullPolicy == corev1.PullAlways {
					t.Errorf("%s: %s asks the registry at each start", at, c.Name)
				}
				if c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
					t.Errorf("%s: the memory of %s has no bound", at, c.Name)
				}
			}
		}
	}
	body, err := Definitions(c.File)
	if kinds := objects(t, body, err); len(kinds) != 5 || kinds["CustomResourceDefinition rollouts.argoproj.io"] == nil {
		t.Errorf("Argo Rollouts defines %d kinds", len(kinds))
	}
	for _, want := range Images() {
		if !images[want] {
			t.Errorf("nothing runs %s", want)
		}
		delete(images, want)
	}
	if len(images) > 0 {
		t.Errorf("run, and not in Images: %v", images)
	}
}
