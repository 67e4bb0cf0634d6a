//go:build ground

package ground

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	corev1 "k8s.io/api/core/v1"
)

func spread(c *cluster) {
	zones := map[string]int{}
	for _, p := range c.pods("web") {
		node, err := c.CoreV1().Nodes().Get(c.t.Context(), p.Spec.NodeName, metav1.GetOptions{})
		if err != nil {
			c.t.Fatal(err)
		}
		zone := node.Labels[corev1.LabelTopologyZone]
		zones[zone]++
		if node.Labels[corev1.LabelTopologyRegion] != c.region || node.Spec.ProviderID == "" {
			c.t.Errorf("node %s is in region %q with the provider id %q", node.Name, node.Labels[corev1.LabelTopologyRegion], node.Spec.ProviderID)
		}
		answer, err := c.fromPod(p, "http://127.0.0.1:8080/")
		if want := fmt.Sprintf("pod=%s node=%s zone=%s\n", p.Name, node.Name, zone); err != nil || answer != want {
			c.t.Errorf("pod %s answers %q, %v, want %q", p.Name, answer, err, want)
		}
	}
	if zones["westeurope-1"] != 2 || zones["westeurope-2"] != 2 {
		c.t.Errorf("pods of each zone: %v, want 2 in each of two", zones)
	}
}

func resolve(c *cluster) {
	service, err := c.CoreV1().Services(application).Get(c.t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	pod := c.pods("web")[0].Name
	for name, want := range map[string]string{
		"web":                         service.Spec.ClusterIP,
		"web.proof.svc.cluster.local": service.Spec.ClusterIP,
		"kubernetes.default":          "10.200.0.1",
		"proof-ledger.postgres.database.azure.com": "10.10.240.20",
	} {
		if got := strings.TrimSpace(c.run("exec", pod, "--", "/server", "resolve", name)); got != want {
			c.t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func services(c *cluster) {
	service, err := c.CoreV1().Services(application).Get(c.t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	clients := backbone(c.t, c.ground.Name)
	defer clients.Close()
	pods := c.pods("web")
	seen := map[string]bool{}
	for i := range 60 {
		answer, err := c.fromPod(pods[i%2], "http://"+service.Spec.ClusterIP+"/")
		if err != nil {
			c.t.Fatalf("ClusterIP: %v", err)
		}
		seen[answer] = true
	}
	if len(seen) != len(pods) {
		c.t.Errorf("60 requests to the ClusterIP found %d of %d pods", len(seen), len(pods))
	}
	nodes, err := c.CoreV1().Nodes().List(c.t.Context(), metav1.ListOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, n := range nodes.Items {
		url := fmt.Sprintf("http://%s:%d/", n.Status.Addresses[slices.IndexFunc(n.Status.Addresses, func(a corev1.NodeAddress) bool { return a.Type == corev1.NodeInternalIP })].Address, service.Spec.Ports[0].NodePort)
		if answer, err := fetch(c.t.Context(), clients, url); err != nil || !strings.HasPrefix(answer, "pod=web") {
			c.t.Errorf("NodePort at %s: %q, %v", url, answer, err)
		}
	}
}

// loadBalancer comes as a browser does: from the host, through loopback.
func loadBalancer(c *cluster) {
	url := c.entry()
	if !strings.HasPrefix(url, "http://127.0.0.1:") {
		c.t.Errorf("the way in is %s", url)
	}
	zones := map[string]bool{}
	for range 60 {
		answer, err := fetch(c.t.Context(), nil, url)
		if err != nil {
			c.t.Fatal(err)
		}
		_, zone, _ := strings.Cut(strings.TrimSpace(answer), "zone=")
		zones[zone] = true
	}
	if !zones["westeurope-1"] || !zones["westeurope-2"] || len(zones) != 2 {
		c.t.Errorf("60 connections reached the zones %v", zones)
	}
}

func kubectlVerbs(c *cluster) {
	pod := c.pods("web")[0].Name
	if out := c.run("logs", pod); !strings.Contains(out, "serving as "+pod) {
		c.t.Errorf("logs = %q", out)
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	var exit *exec.ExitError
	if err := c.kubectl(ctx, "exec", pod, "--", "/server", "exit", "7").Run(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		c.t.Errorf("a command that exits with 7 gives %v", err)
	}

	attach := c.kubectl(ctx, "attach", "-i", pod)
	in, err := attach.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	out, err := attach.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := attach.Start(); err != nil {
		c.t.Fatal(err)
	}
	fmt.Fprintln(in, "is anybody there")
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "heard: is anybody there") {
	}
	if !strings.Contains(lines.Text(), "heard:") {
		c.t.Errorf("attach ended without an echo: %v", lines.Err())
	}
	_ = attach.Process.Kill()
	_ = attach.Wait()

	forward := c.kubectl(ctx, "port-forward", "pod/"+pod, ":8080")
	if out, err = forward.StdoutPipe(); err != nil {
		c.t.Fatal(err)
	}
	if err := forward.Start(); err != nil {
		c.t.Fatal(err)
	}
	lines = bufio.NewScanner(out)
	lines.Scan()
	local := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(lines.Text())
	if answer, err := fetch(ctx, nil, "http://"+local+"/"); err != nil || !strings.Contains(answer, pod) {
		c.t.Errorf("port-forward said %q and answers %q, %v", lines.Text(), answer, err)
	}
	_ = forward.Process.Kill()
	_ = forward.Wait()
}

func eviction(c *cluster) {
	pod := c.pods("web")[0].Name
	err := c.PolicyV1().Evictions(application).Evict(c.t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod, Namespace: application}})
	if !apierrors.IsTooManyRequests(err) {
		c.t.Errorf("an eviction against the budget gets %v, want 429", err)
	}
	if c.pods("web")[0].Name != pod {
		c.t.Error("and the pod is gone")
	}
}

func unknownImage(c *cluster) {
	pod := c.pod("lost")
	pod.Spec.Containers[0].Image = "docker.io/acme/rocket:9"
	if _, err := c.CoreV1().Pods(application).Create(c.t.Context(), pod, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
	defer c.delete(pod.Name)
	eventually(c.t, 30*time.Second, "the pod says what is wrong", func() error {
		p, err := c.CoreV1().Pods(application).Get(c.t.Context(), pod.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, s := range p.Status.ContainerStatuses {
			if w := s.State.Waiting; w != nil && w.Reason == "ErrImagePull" && strings.Contains(w.Message, "docker.io/acme/rocket:9") &&
				strings.Contains(w.Message, "docker.io/library/redis:7") {
				return nil
			}
		}
		return fmt.Errorf("status: %+v", p.Status.ContainerStatuses)
	})
}

// volume writes, deletes the pod, and reads from the next one.
func volume(c *cluster) {
	eventually(c.t, 60*time.Second, "the pod with a volume is ready", func() error { return c.diskReady("") })
	c.run("exec", "disk-0", "--", "/server", "write", "/data/note", "kept")
	before := c.pods("disk")[0]
	claim, err := c.CoreV1().PersistentVolumeClaims(application).Get(c.t.Context(), "data-disk-0", metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	pv, err := c.CoreV1().PersistentVolumes().Get(c.t.Context(), claim.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	zone := before.Spec.NodeName[:len("westeurope-1")]
	if terms := fmt.Sprint(pv.Spec.NodeAffinity.Required.NodeSelectorTerms); !strings.Contains(terms, corev1.LabelTopologyZone) || !strings.Contains(terms, zone) {
		c.t.Errorf("the volume of a pod in %s is for %s", zone, terms)
	}
	// Its node takes no more, so that it must move within its zone.
	c.run("cordon", before.Spec.NodeName)
	defer c.run("uncordon", before.Spec.NodeName)
	c.run("delete", "pod", "disk-0", "--wait=false")
	eventually(c.t, 60*time.Second, "the pod is back", func() error { return c.diskReady(string(before.UID)) })
	after := c.pods("disk")[0]
	if after.Spec.NodeName == before.Spec.NodeName || !strings.HasPrefix(after.Spec.NodeName, zone) {
		c.t.Errorf("the pod went from %s to %s", before.Spec.NodeName, after.Spec.NodeName)
	}
	if got := c.run("exec", "disk-0", "--", "/server", "read", "/data/note"); got != "kept" {
		c.t.Errorf("the volume reads %q", got)
	}
}

func (c *cluster) diskReady(notUID string) error {
	p, err := c.CoreV1().Pods(application).Get(c.t.Context(), "disk-0", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if string(p.UID) == notUID {
		return errors.New("it is still the old one")
	}
	return podReady(*p)
}

func autoscaling(c *cluster) {
	eventually(c.t, 3*time.Minute, "the autoscaler has added a pod", func() error {
		h, err := c.AutoscalingV2().HorizontalPodAutoscalers(application).Get(c.t.Context(), "busy", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if len(h.Status.CurrentMetrics) == 0 || h.Status.CurrentMetrics[0].Resource == nil {
			return fmt.Errorf("no metrics yet: %v", h.Status.Conditions)
		}
		if h.Status.DesiredReplicas < 2 || len(c.pods("busy")) < 2 {
			return fmt.Errorf("%v pods at %v", h.Status.DesiredReplicas, *h.Status.CurrentMetrics[0].Resource.Current.AverageUtilization)
		}
		return nil
	})
	if out := c.run("top", "nodes"); !strings.Contains(out, "westeurope-1-1") {
		c.t.Errorf("kubectl top nodes = %q", out)
	}
}
