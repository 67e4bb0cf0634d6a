// Package mesh stands for the Istio add-on of AKS: it says what the add-on
// installs, from Istio's own charts, under the add-on's names. Call Manifests, and
// AskCertificate to see what a proxy has. It configures no traffic: Gateways, policies and the shared mesh configuration are
// the user's, here as on AKS.
package mesh

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/nines-ha/nines/ground/engine"
)

// Names that the add-on gives.
const (
	Revision         = "asm-1-31" // of the label istio.io/rev
	System           = "aks-istio-system"
	IngressNamespace = "aks-istio-ingress"
	Ingress          = "aks-istio-ingressgateway-external"
	// SharedConfig is the ConfigMap in System with the user's own mesh configuration.
	SharedConfig = "istio-shared-configmap-" + Revision

	TrustDomain = "cluster.local" // of all identities
)

// Engines are what has to be compiled for it.
var Engines = []string{"istio", "istio-agent"}

// Images are those that it runs.
func Images() []string {
	var list []string
	for _, name := range []string{"pilot", "proxyv2", "install-cni"} {
		list = append(list, "docker.io/istio/"+name+":"+engine.IstioVersion)
	}
	return list
}

// Config is what differs between clusters.
type Config struct {
	Istioctl    string            // path of the program
	Zones       int               // a gateway each, two at least
	CNIConfig   string            // folder on a node where its container runtime finds network configurations
	CNIPrograms string            // folder on a node, writable, where it finds their programs
	Authority   map[string][]byte // as NewAuthority makes it
	// Shared is the text in SharedConfig, the user's own mesh configuration.
	Shared []byte
}

//go:embed operator.yaml.tmpl
var operator string

// tolerations are how long a pod stays on a node that nobody hears from: no longer
// than a service's.
const tolerations = `[{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 15}, {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 15}]`

// Manifests are the add-on's objects as YAML, its namespaces among them.
func Manifests(ctx context.Context, c Config) ([]byte, error) {
	t, err := template.New("operator").Option("missingkey=error").Parse(operator)
	if err != nil {
		return nil, err
	}
	var settings bytes.Buffer
	gateway, err := c.gateway()
	if err != nil {
		return nil, err
	}
	err = t.Execute(&settings, struct {
		Config
		Revision, Version, System, IngressNamespace, Ingress, SharedConfig, TrustDomain, Tolerations, GatewayConfig string
		Gateways                                                                                                    int
	}{c, Revision, engine.IstioVersion, System, IngressNamespace, Ingress, SharedConfig, TrustDomain, tolerations, gateway, max(2, c.Zones)})
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, c.Istioctl, "manifest", "generate", "--filename", "-")
	cmd.Stdin = &settings
	cmd.Env = []string{"HOME=/nonexistent", "PATH=/usr/bin:/bin", "KUBECONFIG=/dev/null"}
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("istioctl manifest generate: %w: %s", err, strings.TrimSpace(complaint.String()))
	}
	secret, err := authority(c.Authority)
	if err != nil {
		return nil, err
	}
	return slices.Concat([]byte(namespaces), secret, out), nil
}

// gateway is the configuration of the gateways' proxies, quoted: that of all proxies,
// which the chart's gateways, that istiod does not inject, take from nowhere, and
// settings of their own. A load balancer drops a backend after two failed probes,
// five seconds apart; until then a gateway that leaves goes on serving.
func (c Config) gateway() (string, error) {
	var shared struct {
		Default map[string]any `json:"defaultConfig"`
	}
	if err := yaml.Unmarshal(c.Shared, &shared); err != nil {
		return "", fmt.Errorf("read %s: %w", SharedConfig, err)
	}
	config := map[string]any{}
	maps.Copy(config, shared.Default)
	maps.Copy(config, map[string]any{
		"discoveryAddress":         "istiod-" + Revision + "." + System + ".svc:15012",
		"terminationDrainDuration": "20s",
		"drainDuration":            "20s",
	})
	text, err := json.Marshal(config)
	if err != nil {
		return "", err
	}
	return strconv.Quote(string(text)), nil
}

// SharedIn is the text of SharedConfig, if it is among these objects.
func SharedIn(objects []*unstructured.Unstructured) []byte {
	for _, o := range objects {
		if o.GetKind() == "ConfigMap" && o.GetNamespace() == System && o.GetName() == SharedConfig {
			text, _, _ := unstructured.NestedString(o.Object, "data", "mesh")
			return []byte(text)
		}
	}
	return nil
}

const namespaces = `apiVersion: v1
kind: Namespace
metadata: {name: ` + System + `}
---
apiVersion: v1
kind: Namespace
metadata: {name: ` + IngressNamespace + `, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
`
