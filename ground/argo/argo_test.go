package argo

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/nines-ha/nines/ground/image"
	"github.com/nines-ha/nines/ground/manifest"
	"github.com/nines-ha/nines/internal/pki"
)

func example() Config {
	return Config{
		File: func(name string) (string, error) { return filepath.Join("testdata", name), nil },
		Repository: Repository{
			URL: "https://git.west.nines.internal:8443/fleet.git", Username: "argocd", Password: "secret of the test", CA: []byte("authority of Git"),
		},
		Clusters: []Cluster{
			{Region: "west"},
			{Region: "east", Server: "https://10.1.0.1:6443", CA: []byte("authority of east"), Client: pki.Pair{Cert: []byte("certificate"), Key: []byte("key")}},
		},
	}
}

// objects are what YAML holds, by kind and name.
func objects(t *testing.T, body []byte, err error) map[string]*manifest.Object {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	list, err := manifest.Decode("manifests", body)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*manifest.Object{}
	for _, o := range list {
		if found[key(o)] != nil {
			t.Errorf("%s is there twice", key(o))
		}
		found[key(o)] = o
	}
	return found
}

func decode[T any](t *testing.T, o *manifest.Object) (as T) {
	t.Helper()
	if o == nil {
		t.Fatalf("no such %T", as)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, &as, true); err != nil {
		t.Fatal(err)
	}
	return as
}

func TestManifests(t *testing.T) {
	body, err := Manifests(example())
	found := objects(t, body, err)
	if !strings.Contains(string(body), "name: applications.argoproj.io   # this comment stays\n") {
		t.Error("the definition of a kind is not upstream's text")
	}
	for _, gone := range []string{"ServiceAccount argocd-dex-server", "Secret argocd-notifications-secret"} {
		if found[gone] != nil {
			t.Errorf("%s is there", gone)
		}
	}
	for name, o := range found {
		want := Namespace
		if slices.Contains([]string{"Namespace", "CustomResourceDefinition", "ClusterRole"}, o.GetKind()) {
			want = ""
		}
		if o.GetNamespace() != want {
			t.Errorf("%s is in namespace %q", name, o.GetNamespace())
		}
	}
	cm := decode[corev1.ConfigMap](t, found["ConfigMap argocd-cm"])
	if cm.Data["resource.exclusions"] != "upstream's" || cm.Data["timeout.reconciliation"] != "10s" {
		t.Errorf("argocd-cm: %v", cm.Data)
	}
	repo := decode[appsv1.Deployment](t, found["Deployment argocd-repo-server"])
	c := repo.Spec.Template.Spec.Containers
	if *repo.Spec.Replicas != 2 || len(c) != 1 || c[0].ImagePullPolicy != corev1.PullIfNotPresent || len(c[0].Args) != 1 || len(c[0].Env) != 1 {
		t.Errorf("repo-server: %+v", repo.Spec)
	}
	server := decode[appsv1.Deployment](t, found["Deployment argocd-server"])
	if p := server.Spec.Template.Spec.Containers[0].ReadinessProbe; p.PeriodSeconds != 3 || p.HTTPGet == nil || p.HTTPGet.Path != "/healthz" {
		t.Errorf("probe of the server: %+v", p)
	}
}

// Argo CD finds its settings by labels, and reads a cluster's as this JSON.
func TestSecrets(t *testing.T) {
	c := example()
	body, err := Manifests(c)
	found := objects(t, body, err)
	repo := decode[corev1.Secret](t, found["Secret repository"])
	if repo.Labels[kindLabel] != "repository" || string(repo.Data["type"]) != "git" || string(repo.Data["url"]) != c.Repository.URL ||
		string(repo.Data["username"]) != "argocd" || string(repo.Data["password"]) != c.Repository.Password {
		t.Errorf("repository: %v %q", repo.Labels, repo.Data)
	}
	certificates := decode[corev1.ConfigMap](t, found["ConfigMap argocd-tls-certs-cm"])
	if want := map[string]string{"git.west.nines.internal": "authority of Git"}; !reflect.DeepEqual(certificates.Data, want) || certificates.Labels["app.kubernetes.io/part-of"] != "argocd" {
		t.Errorf("authorities: %v %v", certificates.Labels, certificates.Data)
	}
	for region, want := range map[string]struct{ order, server, config string }{
		"west": {"1", "https://kubernetes.default.svc", `{"tlsClientConfig":{"insecure":false}}`},
		"east": {"2", "https://10.1.0.1:6443", `{"tlsClientConfig":{"insecure":false,"caData":"YXV0aG9yaXR5IG9mIGVhc3Q=","certData":"Y2VydGlmaWNhdGU=","keyData":"a2V5"}}`},
	} {
		s := decode[corev1.Secret](t, found["Secret cluster-"+region])
		if s.Labels[kindLabel] != "cluster" || s.Labels["nines.dev/region"] != region || s.Labels["nines.dev/order"] != want.order {
			t.Errorf("%s: labels %v", region, s.Labels)
		}
		if string(s.Data["name"]) != region || string(s.Data["server"]) != want.server || string(s.Data["config"]) != want.config {
			t.Errorf("%s: %q", region, s.Data)
		}
	}
	for name, field := range map[string]string{"argocd-secret": "server.secretkey", "argocd-redis": "auth"} {
		s := decode[corev1.Secret](t, found["Secret "+name])
		again, err := Manifests(c)
		other := decode[corev1.Secret](t, objects(t, again, err)["Secret "+name])
		if len(s.Data[field]) < 20 || string(s.Data[field]) == string(other.Data[field]) {
			t.Errorf("%s is no secret", name)
		}
	}
	// A password is in no other object.
	for name, o := range found {
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if name != "Secret repository" && strings.Contains(string(text), c.Repository.Password) {
			t.Errorf("%s holds the password", name)
		}
	}
}

func TestManifestsRefuse(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*Config)
		want  string
	}{
		"plain HTTP":            {func(c *Config) { c.Repository.URL = "http://git/fleet.git" }, "https://"},
		"no repository":         {func(c *Config) { c.Repository.URL = "" }, "https://"},
		"no cluster":            {func(c *Config) { c.Clusters = nil }, "no cluster"},
		"a second without keys": {func(c *Config) { c.Clusters[1].Client = pki.Pair{} }, "region east"},
		"no engine":             {func(c *Config) { c.File = func(string) (string, error) { return "", errors.New("not built") } }, "not built"},
		"no file":               {func(c *Config) { c.File = func(string) (string, error) { return "testdata/none", nil } }, "upstream's manifests"},
	} {
		config := example()
		c.spoil(&config)
		if _, err := Manifests(config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// A patch for something that upstream renamed must not be lost in silence.
func TestOverlayRefuses(t *testing.T) {
	upstream := []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n---\napiVersion: v1\nkind: Unknown\nmetadata: {name: one}\n")
	for patch, want := range map[string]string{
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: two}\n": "upstream has no ConfigMap two",
		"apiVersion: v1\nkind: Unknown\nmetadata: {name: one}\n":   "Unknown one: no kind",
		"not an object": "patches",
	} {
		if _, err := overlay(upstream, []byte(patch), "a", nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", patch, err, want)
		}
	}
}

func TestImagesAreMade(t *testing.T) {
	made := (&image.Catalogue{}).References()
	for _, want := range Images() {
		if !slices.Contains(made, want) {
			t.Errorf("nothing makes %s", want)
		}
	}
}
