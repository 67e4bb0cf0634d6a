package engine

import "strings"

// Recipe says how one engine is compiled. What is compiled, and at which
// version, is in the go.mod of its folder.
type Recipe struct {
	Name   string
	Folder string // under the source folder; empty: Name
	Module string // whose version is the engine's
	// LDFlags may hold {version} (v1.2.3) and {number} (1.2.3).
	LDFlags string
	Tags    []string
	CGO     bool
	// Packages are the Debian packages a compile needs besides Go.
	Packages []string
	// Only are the programs of the folder that are compiled; nil: all.
	Only []string
	// Files are files of the module that go with the programs, by what they are
	// called here; see Builder.File.
	Files map[string]string
	// Rename maps what Go calls a program to what people call it.
	Rename map[string]string
	// C compiles one C file of the module instead of the Go programs.
	C *CProgram
	// Memory is what a cold compile needs at its worst, in MiB.
	Memory int64
}

// CProgram is a program that upstream writes in C inside a Go module.
type CProgram struct {
	Binary string
	File   string // in the module
	Flags  []string
}

// Recipes lists the engines of the proving ground.
func Recipes() []Recipe {
	return []Recipe{
		{
			Name: "containerd", Module: "github.com/containerd/containerd/v2", Memory: 1500,
			LDFlags: "-s -w -X github.com/containerd/containerd/v2/version.Version={version}",
		},
		{
			Name: "runc", Module: "github.com/opencontainers/runc", Memory: 1000,
			LDFlags: "-s -w -X main.version={number}", Tags: []string{"seccomp"}, CGO: true,
			Packages: []string{"gcc", "libc6-dev", "pkg-config", "libseccomp-dev"},
		},
		{
			Name: "pause", Folder: "kubernetes", Module: "k8s.io/kubernetes", Memory: 100,
			Packages: []string{"gcc", "libc6-dev"},
			C: &CProgram{
				Binary: "pause", File: "build/pause/linux/pause.c",
				Flags: []string{"-Os", "-Wall", "-static", "-s", "-DVERSION={version}"},
			},
		},
		{
			Name: "etcd", Module: "go.etcd.io/etcd/server/v3", Memory: 1500,
			LDFlags: "-s -w", Rename: map[string]string{"server": "etcd"},
		},
		{
			Name: "kubernetes", Module: "k8s.io/kubernetes", Memory: 3000,
			LDFlags: "-s -w -X k8s.io/component-base/version.gitVersion={version}",
		},
		{Name: "coredns", Module: "github.com/coredns/coredns", Memory: 2000, LDFlags: "-s -w"},
		{Name: "metrics-server", Module: "sigs.k8s.io/metrics-server", Memory: 2000, LDFlags: "-s -w"},
		{
			Name: "istio", Module: istio, Memory: 3000,
			LDFlags: istioLDFlags, Tags: []string{"vtprotobuf", "disable_pgv"}, Only: []string{"pilot-discovery", "istioctl", "install-cni", "istio-cni"},
		},
		{
			// With the tags that Istio's own build gives the agent: a third of the size.
			Name: "istio-agent", Folder: "istio", Module: istio, Memory: 2000,
			LDFlags: istioLDFlags, Tags: []string{"agent", "disable_pgv", "grpcnotrace", "retrynotrace"}, Only: []string{"pilot-agent"},
			Files: map[string]string{"envoy_bootstrap_tmpl.json": "tools/packaging/common/envoy_bootstrap.json"},
		},
		{
			// One program that is each of Argo CD's components, by the name it is called
			// by. Its module has no web interface, see docs/decisions.
			Name: "argo-cd", Module: argoCD, Memory: 2500, Rename: map[string]string{"cmd": "argocd"},
			LDFlags: "-s -w" + argoLDFlags(argoCD+"/common"),
			Files: map[string]string{
				"argo-cd.yaml":          "manifests/install.yaml",
				"gpg-wrapper.sh":        "hack/gpg-wrapper.sh",
				"git-verify-wrapper.sh": "hack/git-verify-wrapper.sh",
			},
		},
		{
			Name: "argo-rollouts", Module: argoRollouts, Memory: 3000,
			LDFlags: "-s -w" + argoLDFlags(argoRollouts+"/utils/version"),
			Files:   map[string]string{"argo-rollouts.yaml": "manifests/install.yaml"},
		},
		{
			Name: "prometheus", Module: "github.com/prometheus/prometheus", Memory: 3000, Tags: []string{"remove_all_sd", "enable_kubernetes_sd"},
			LDFlags: "-s -w -X github.com/prometheus/common/version.Version=" + PrometheusVersion + " -X github.com/prometheus/common/version.Revision={version}",
		},
	}
}

// PrometheusVersion is the release that the pinned module is: 3.16.0 has the tag v0.316.0.
const PrometheusVersion = "3.16.0"

const (
	argoCD       = "github.com/argoproj/argo-cd/v3"
	argoRollouts = "github.com/argoproj/argo-rollouts"
)

// argoLDFlags make a program of the Argo project say the release that it is. It
// says so only of a clean tree at a tagged commit.
func argoLDFlags(pkg string) string {
	return " -X " + pkg + ".version={number} -X " + pkg + ".gitTag={version} -X " + pkg + ".gitCommit={version} -X " + pkg + ".gitTreeState=clean"
}

// IstioVersion is what the programs of Istio say they are, in the form that
// Istio's own builds of a commit have: its module has no version of a release.
const IstioVersion = "1.31-alpha.eed52ebb66ad"

const (
	istio        = "istio.io/istio"
	istioLDFlags = "-s -w -X istio.io/istio/pkg/version.buildVersion=" + IstioVersion + " -X istio.io/istio/pkg/version.buildTag=" + IstioVersion +
		" -X istio.io/istio/pkg/version.buildGitRevision={version} -X istio.io/istio/pkg/version.buildStatus=Clean"
)

func (r Recipe) folder() string {
	if r.Folder != "" {
		return r.Folder
	}
	return r.Name
}

func expand(text, version string) string {
	return strings.NewReplacer("{version}", version, "{number}", strings.TrimPrefix(version, "v")).Replace(text)
}
