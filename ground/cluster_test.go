//go:build ground

package ground

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/nines-ha/nines/ground/engine"
	"github.com/nines-ha/nines/ground/image"
	"github.com/nines-ha/nines/internal/cgroup"
	"github.com/nines-ha/nines/internal/namespace"
)

// cluster is a region as its users see it.
type cluster struct {
	*kubernetes.Clientset
	t          *testing.T
	ground     *Client
	region     string
	kubeconfig string
	rest       *rest.Config
}

func newCluster(t *testing.T, ground *Client, region string) *cluster {
	t.Helper()
	s, err := ground.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, ground: ground, region: region, kubeconfig: s.Kubeconfig}
	c.rest, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: s.Kubeconfig}, &clientcmd.ConfigOverrides{CurrentContext: region}).ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	c.rest.Timeout = 10 * time.Second
	c.rest.QPS, c.rest.Burst = 100, 200
	if c.Clientset, err = kubernetes.NewForConfig(c.rest); err != nil {
		t.Fatal(err)
	}
	return c
}

// in is the same cluster for a subtest.
func (c *cluster) in(t *testing.T) *cluster {
	d := *c
	d.t = t
	return &d
}

// kubectl is upstream's, of the cluster's own release.
func (c *cluster) kubectl(ctx context.Context, args ...string) *exec.Cmd {
	c.t.Helper()
	config := withEngines(c.t, Config{})
	path, err := (&engine.Builder{CacheDir: config.Cache, Source: config.Engines}).Path("kubectl")
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, path, append([]string{"--kubeconfig", c.kubeconfig, "--context", c.region, "-n", application}, args...)...)
	cmd.WaitDelay = time.Second
	return cmd
}

// run runs kubectl and gives its output.
func (c *cluster) run(args ...string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	cmd := c.kubectl(ctx, args...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("kubectl %s: %v: %s", strings.Join(args, " "), err, complaint.String())
	}
	return string(out)
}

// pods are those of an application, without those that are ending.
func (c *cluster) pods(app string) []corev1.Pod {
	c.t.Helper()
	list, err := c.CoreV1().Pods(application).List(c.t.Context(), metav1.ListOptions{LabelSelector: "app=" + app})
	if err != nil {
		c.t.Fatal(err)
	}
	var pods []corev1.Pod
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			pods = append(pods, p)
		}
	}
	return pods
}

// podOn is a pod of an application on a node.
func (c *cluster) podOn(app, node string) corev1.Pod {
	c.t.Helper()
	for _, p := range c.pods(app) {
		if p.Spec.NodeName == node {
			return p
		}
	}
	c.t.Fatalf("no pod of %s is on %s", app, node)
	return corev1.Pod{}
}

func (c *cluster) nodeReady(name string) error {
	n, err := c.CoreV1().Nodes().Get(c.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, condition := range n.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
			return fmt.Errorf("%s is not ready: %s", name, condition.Reason)
		}
	}
	for _, taint := range n.Spec.Taints {
		return fmt.Errorf("%s has the taint %s", name, taint.Key)
	}
	return nil
}

func (c *cluster) nodeLost(name string) error {
	n, err := c.CoreV1().Nodes().Get(c.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, condition := range n.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			return fmt.Errorf("%s is ready", name)
		}
	}
	return nil
}

// healthy says nil when nodes, pods and the way in are as they should be.
func (c *cluster) healthy() error {
	s, err := c.ground.Status(c.t.Context())
	if err != nil {
		return err
	}
	for _, r := range s.Regions {
		if r.Name != c.region {
			continue
		}
		if len(r.CutZones) > 0 {
			return fmt.Errorf("zones %v are cut", r.CutZones)
		}
		for _, n := range r.Nodes {
			if n.State != "running" || n.Cut {
				return fmt.Errorf("%s is %s, cut %t", n.Name, n.State, n.Cut)
			}
			if err := c.nodeReady(n.Name); err != nil {
				return err
			}
		}
	}
	for _, ns := range []string{application, metav1.NamespaceSystem} {
		list, err := c.CoreV1().Pods(ns).List(c.t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, p := range list.Items {
			if err := podReady(p); err != nil {
				return err
			}
		}
	}
	return nil
}

func podReady(p corev1.Pod) error {
	for _, condition := range p.Status.Conditions {
		if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("pod %s is %s and not ready", p.Name, p.Status.Phase)
}

// inside is the network of a running pod.
func (c *cluster) inside(pod corev1.Pod) *namespace.Set {
	c.t.Helper()
	g, err := cgroup.Open(group(c.ground.Name))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, pid := range g.Child("nodes").Child(pod.Spec.NodeName).Processes() {
		if strings.HasPrefix(string(commandLine(pid)), "/server\x00") && strings.Contains("\x00"+environment(pid), "\x00POD_NAME="+pod.Name+"\x00") {
			set, err := namespace.NetOf(pid)
			if err != nil {
				c.t.Fatal(err)
			}
			return set
		}
	}
	c.t.Fatalf("no process of pod %s is on %s", pod.Name, pod.Spec.NodeName)
	return nil
}

// fromPod is an answer to a request that a pod makes.
func (c *cluster) fromPod(pod corev1.Pod, url string) (string, error) {
	c.t.Helper()
	set := c.inside(pod)
	defer set.Close()
	return fetch(c.t.Context(), set, url)
}

// fetch asks from inside a network; nil is the host's.
func fetch(ctx context.Context, from *namespace.Set, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	dial := (&net.Dialer{}).DialContext
	if from != nil {
		dial = from.Dial
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	host := req.URL.Host
	if req.URL.Port() == "" {
		host = net.JoinHostPort(host, "80")
	}
	// Here, because a transport goes on dialling when its request has ended, and
	// the network may be closed then.
	conn, err := dial(ctx, "tcp", host)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return string(body), err
}

func podURL(p corev1.Pod) string { return "http://" + net.JoinHostPort(p.Status.PodIP, "8080") + "/" }

// serverImage is the test pods' program as an image in the ground's registry.
func serverImage(ctx context.Context, cache string) (string, error) {
	store, err := image.Open(cache + "/images")
	if err != nil {
		return "", err
	}
	return store.BuildService(ctx, "registry.local/"+application+"/server", "testdata/server")
}
