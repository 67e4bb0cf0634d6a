//go:build ground

package ground

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nines-ha/nines/ground/engine"
	"github.com/nines-ha/nines/ground/mesh"
)

const meshed = `
apiVersion: v1
kind: Namespace
metadata: {name: proof, labels: {istio.io/rev: ` + mesh.Revision + `, pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: v1
kind: Namespace
metadata: {name: strange}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: ` + mesh.System + `}
spec: {mtls: {mode: STRICT}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: caller, namespace: proof}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: proof}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
`

const meshedPod = `---
apiVersion: v1
kind: Pod
metadata: {name: POD, namespace: SPACE, labels: {app: POD}}
spec:
  serviceAccountName: ACCOUNT
  terminationGracePeriodSeconds: 3
  securityContext: SECURE
  containers:
  - {CONTAINER, ENV}
`

// TestMesh proves that a stock Istio runs on the ground: istiod, the agent and
// istioctl from its module, Envoy from its own project, and Istio's charts as they
// are. Sidecars are injected, pods speak mTLS with their identities, and nobody
// gets in without.
func TestMesh(t *testing.T) {
	config := withEngines(t, Config{Name: application, Mesh: true, Regions: []Region{{Name: "westeurope", Zones: 2, Nodes: 1}}})
	engines := &engine.Builder{CacheDir: config.Cache, Source: config.Engines}
	c := newCluster(t, bring(t, config), "westeurope")
	istioctl, err := engines.Path("istioctl")
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, istioctl, append(args, "--kubeconfig", c.kubeconfig, "--context", c.region)...)
		var complaint bytes.Buffer
		cmd.Stderr = &complaint
		out, err := cmd.Output()
		if err != nil {
			err = fmt.Errorf("istioctl %s: %w: %s%s", strings.Join(args, " "), err, out, complaint.String())
		}
		return string(out), err
	}

	image, err := serverImage(t.Context(), config.Cache)
	if err != nil {
		t.Fatal(err)
	}
	pod := func(name, namespace, account string) string {
		return strings.NewReplacer("SPACE", namespace, "POD", name, "ENV", "env: [{name: POD_NAME, value: "+name+"}]", "ACCOUNT", account, "SECURE", secure,
			"CONTAINER", strings.NewReplacer("IMAGE", image).Replace(container)).Replace(meshedPod)
	}
	eventually(t, time.Minute, "the meshed pods are applied", func() error {
		return c.apply(meshed + pod("web", "proof", "default") + pod("caller", "proof", "caller") + pod("stranger", "strange", "default"))
	})
	eventually(t, 4*time.Minute, "the pods are ready", func() error {
		out := c.run("get", "pods", "-A", "-l", "app in (web, caller, stranger)", "-o",
			`jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status},{.spec.initContainers[*].name} {end}`)
		for _, want := range []string{"web=True,istio-validation istio-proxy", "caller=True,istio-validation istio-proxy", "stranger=True, "} {
			if !strings.Contains(out, want) {
				return errors.New(out)
			}
		}
		return nil
	})

	eventually(t, 30*time.Second, "the caller is answered, and known by its identity", func() error {
		out, err := c.get("proof", "caller", "http://web.proof/")
		if err == nil && (!strings.HasPrefix(out, "pod=web ") || !strings.Contains(out, "URI=spiffe://cluster.local/ns/proof/sa/caller")) {
			err = errors.New(out)
		}
		return err
	})
	address := c.run("-n", "proof", "get", "pod", "web", "-o", "jsonpath={.status.podIP}")
	for _, url := range []string{"http://web.proof/", "http://" + address + ":8080/"} {
		out, err := c.get("strange", "stranger", url)
		if err == nil || !strings.Contains(out, "EOF") && !strings.Contains(out, "reset by peer") {
			t.Errorf("a pod outside the mesh asks %s, and gets %q, %v", url, out, err)
		}
	}
	knock := func(namespace, pod string, wrap *TLS) Answer {
		t.Helper()
		a, err := c.ground.Probe(t.Context(), c.region, Probe{Namespace: namespace, Pod: pod, To: netip.AddrPortFrom(netip.MustParseAddr(address), 8080), Path: "/", TLS: wrap})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if a := knock("proof", "web", nil); a.Status != 200 || !strings.HasPrefix(a.Body, "pod=web ") {
		t.Errorf("from inside the pod its port says %s: %.80s", a, a.Body)
	}
	forged := &TLS{Identity: "spiffe://cluster.local/ns/proof/sa/caller", ALPN: []string{"istio", "http/1.1"}}
	for name, a := range map[string]Answer{"in plaintext": knock("strange", "stranger", nil), "with a forged identity": knock("strange", "stranger", forged)} {
		if !a.Ended() {
			t.Errorf("a stranger %s: %s", name, a)
		}
	}
	eventually(t, 30*time.Second, "istioctl sees both proxies", func() error {
		out, err := run("proxy-status", "-i", mesh.System, "--revision", mesh.Revision)
		if err == nil && (!strings.Contains(out, "web.proof") || !strings.Contains(out, "caller.proof")) {
			err = errors.New(out)
		}
		return err
	})
	roots := mesh.Fingerprints([]byte(c.run("-n", "proof", "get", "configmap", mesh.TrustConfig, "-o", `jsonpath={.data.root-cert\.pem}`)))
	shown, err := c.ground.Certificate(t.Context(), c.region, "proof", "web")
	if err != nil || len(roots) != 1 || shown.Root != roots[0] || !slices.Equal(shown.Trusts, roots) || time.Until(shown.Expires) < time.Hour {
		t.Errorf("the proxy of a pod shows %+v, %v; the roots are %q", shown, err, roots)
	}
	if shown, err := c.ground.Certificate(t.Context(), c.region, "strange", "stranger"); err == nil {
		t.Errorf("a pod outside the mesh shows %+v", shown)
	}
	if out, err := run("analyze", "-n", "proof", "-i", mesh.System, "--revision", mesh.Revision); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// get is what a pod is answered, or says when it is not.
func (c *cluster) get(namespace, pod, url string) (string, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	out, err := c.kubectl(ctx, "-n", namespace, "exec", pod, "-c", "server", "--", "/server", "get", url).CombinedOutput()
	return string(out), err
}

// apply has the API server merge what it can of some manifests.
func (c *cluster) apply(manifests string) error {
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	cmd := c.kubectl(ctx, "--namespace=", "apply", "--server-side", "--force-conflicts", "-f", "-")
	cmd.Stdin = strings.NewReader(manifests)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
