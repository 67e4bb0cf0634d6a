package image

import (
	"testing"
)

func TestReference(t *testing.T) {
	for short, want := range map[string]string{
		"redis:7":                         "docker.io/library/redis:7",
		"redis":                           "docker.io/library/redis:latest",
		"istio/pilot:1":                   "docker.io/istio/pilot:1",
		"quay.io/argoproj/argocd:v3":      "quay.io/argoproj/argocd:v3",
		"registry.local/fleet/vehicle":    "registry.local/fleet/vehicle:latest",
		"host.example:5000/a/b:c":         "host.example:5000/a/b:c",
		"docker.io/library/redis:7":       "docker.io/library/redis:7",
		"registry.k8s.io/pause:3.10.1":    "registry.k8s.io/pause:3.10.1",
		"index.docker.io/library/redis:7": "docker.io/library/redis:7",
	} {
		if got, err := Reference(short); err != nil || got != want {
			t.Errorf("Reference(%q) = %q, %v; want %q", short, got, err, want)
		}
	}
	if got, err := Reference("Not A Reference"); err == nil {
		t.Errorf("a bad reference became %q", got)
	}
	for full, want := range map[string]string{
		"host.example:5000/a/b:c": "host.example:5000/a/b",
		"host.example:5000/a/b":   "host.example:5000/a/b",
		"a.io/b@sha256:00":        "a.io/b",
	} {
		if got := repository(full); got != want {
			t.Errorf("repository(%q) = %q, want %q", full, got, want)
		}
	}
}
