package engine

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCatalogOfTheGround(t *testing.T) {
	engines, err := Catalog(filepath.Join("..", "..", "engines"))
	if err != nil {
		t.Fatal(err)
	}
	programs := map[string]string{}
	for _, e := range engines {
		if !strings.HasPrefix(e.Version, "v") {
			t.Errorf("engine %s has version %q", e.Name, e.Version)
		}
		for _, p := range e.Programs {
			if other, twice := programs[p.Name]; twice {
				t.Errorf("program %s is in %s and %s", p.Name, other, e.Name)
			}
			programs[p.Name] = e.Name
		}
	}
	for _, want := range []string{
		"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl", "etcd",
		"containerd", "containerd-shim-runc-v2", "ctr", "runc", "bridge", "host-local", "loopback", "portmap",
		"coredns", "metrics-server", "pause", "pilot-discovery", "pilot-agent", "istioctl",
		"argocd", "rollouts-controller", "kubectl-argo-rollouts", "prometheus", "promtool",
	} {
		if programs[want] == "" {
			t.Errorf("no engine has %s", want)
		}
	}
}

func TestFlagsOfTheGround(t *testing.T) {
	engines, err := Catalog(filepath.Join("..", "..", "engines"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"kubernetes":    "-X k8s.io/component-base/version.gitVersion=v",
		"containerd":    "-X github.com/containerd/containerd/v2/version.Version=v",
		"runc":          "-X main.version=1",
		"argo-cd":       "-X github.com/argoproj/argo-cd/v3/common.gitTag=v3",
		"argo-rollouts": "-X github.com/argoproj/argo-rollouts/utils/version.gitTag=v1",
	} {
		i := slices.IndexFunc(engines, func(e Engine) bool { return e.Name == name })
		if got := engines[i].command(); !strings.Contains(got, want) {
			t.Errorf("%s is built with %s, want %s in it", name, got, want)
		}
	}
}

// The tag that Istio's programs carry ends with the commit that is pinned.
func TestVersionOfIstio(t *testing.T) {
	engines, err := Catalog(filepath.Join("..", "..", "engines"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range engines {
		if e.Module != istio {
			continue
		}
		commit := e.Version[strings.LastIndexByte(e.Version, '-')+1:]
		if len(commit) != 12 || !strings.HasSuffix(IstioVersion, "."+commit) {
			t.Errorf("%s is pinned at %s, and calls itself %s", e.Name, e.Version, IstioVersion)
		}
	}
}

// Prometheus 3.16.0 is v0.316.0 among Go's modules.
func TestVersionOfPrometheus(t *testing.T) {
	engines, err := Catalog(filepath.Join("..", "..", "engines"))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(engines, func(e Engine) bool { return e.Name == "prometheus" })
	var major, minor, patch int
	if _, err := fmt.Sscanf(PrometheusVersion, "%d.%d.%d", &major, &minor, &patch); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("v0.%d%02d.%d", major, minor, patch); engines[i].Version != want {
		t.Errorf("the pin is %s, the version told is that of %s", engines[i].Version, want)
	}
}

func TestSource(t *testing.T) {
	here := tiny(t, works)
	t.Setenv("NINES_ENGINES", here)
	if got, err := Source(""); err != nil || got != here {
		t.Errorf("Source from the environment = %q, %v", got, err)
	}
	if _, err := Source(t.TempDir()); err == nil || !strings.Contains(err.Error(), "--engines") {
		t.Errorf("an empty folder was taken: %v", err)
	}
	t.Setenv("NINES_ENGINES", "")
	if got, err := Source(""); err != nil || filepath.Base(got) != "engines" {
		t.Errorf("Source above the working directory = %q, %v", got, err)
	}
	t.Chdir(t.TempDir())
	if got, err := Source(""); err == nil {
		t.Errorf("Source found %q where there is none", got)
	}
}
