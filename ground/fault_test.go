//go:build ground

package ground

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nines-ha/nines/internal/cgroup"
)

// notice is how long Kubernetes may take to see that a node is gone.
const notice = 45 * time.Second

// silent says that a packet was lost and nobody told.
func silent(err error) bool {
	var slow net.Error
	return errors.As(err, &slow) && slow.Timeout()
}

func (c *cluster) do(what string, err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("%s: %v", what, err)
	}
}

func (c *cluster) nodeState(name string) machineState {
	c.t.Helper()
	s, err := c.ground.Status(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	for _, n := range s.Regions[0].Nodes {
		if n.Name == name {
			return machineState{n.State, n.Cut}
		}
	}
	c.t.Fatalf("no node %s", name)
	return machineState{}
}

// machineState is what the ground says of a machine.
type machineState struct {
	State string
	Cut   bool
}

func powerLoss(c *cluster) {
	const node = "westeurope-1-2"
	c.do("power off", c.ground.Power(c.t.Context(), node, false))
	if s := c.nodeState(node); s.State != "stopped" {
		c.t.Errorf("state is %v", s)
	}
	eventually(c.t, notice, "the node is not ready", func() error { return c.nodeLost(node) })
	eventually(c.t, notice, "the cloud says that it is off", func() error {
		n, err := c.CoreV1().Nodes().Get(c.t.Context(), node, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == "node.cloudprovider.kubernetes.io/shutdown" }) {
			return fmt.Errorf("taints: %v", n.Spec.Taints)
		}
		return nil
	})
	c.do("power on", c.ground.Power(c.t.Context(), node, true))
	eventually(c.t, notice, "the node is ready", func() error { return c.nodeReady(node) })
}

func nodeFrozen(c *cluster) {
	const node = "westeurope-2-2"
	pod := c.podOn("web", node)
	c.do("freeze", c.ground.Freeze(c.t.Context(), node, true))
	if s := c.nodeState(node); s.State != "frozen" {
		c.t.Errorf("state is %v", s)
	}
	clients := backbone(c.t, c.ground.Name)
	defer clients.Close()
	if answer, err := fetch(c.t.Context(), clients, podURL(pod)); !silent(err) {
		c.t.Errorf("a pod of a node that hangs answers %q, %v; want silence", answer, err)
	}
	eventually(c.t, notice, "the node is not ready", func() error { return c.nodeLost(node) })
	c.do("thaw", c.ground.Freeze(c.t.Context(), node, false))
	eventually(c.t, notice, "the node is ready", func() error { return c.nodeReady(node) })
	eventually(c.t, 10*time.Second, "the pod answers", func() error {
		_, err := fetch(c.t.Context(), clients, podURL(pod))
		return err
	})
}

func nodeCut(c *cluster) {
	const node = "westeurope-1-2"
	pod, neighbour := c.podOn("web", node), c.podOn("web", "westeurope-1-1")
	c.do("cut", c.ground.Link(c.t.Context(), node, false))
	if s := c.nodeState(node); s.State != "running" || !s.Cut {
		c.t.Errorf("state is %v", s)
	}
	if answer, err := c.fromPod(neighbour, podURL(pod)); err == nil {
		c.t.Errorf("a neighbour reaches it: %q", answer)
	}
	if _, err := c.fromPod(pod, "http://127.0.0.1:8080/"); err != nil {
		c.t.Errorf("the pod itself: %v; only the cable is out", err)
	}
	eventually(c.t, notice, "the node is not ready", func() error { return c.nodeLost(node) })
	c.do("plug in", c.ground.Link(c.t.Context(), node, true))
	eventually(c.t, notice, "the node is ready", func() error { return c.nodeReady(node) })
	eventually(c.t, 10*time.Second, "the neighbour reaches it", func() error {
		_, err := c.fromPod(neighbour, podURL(pod))
		return err
	})
}

func zoneCut(c *cluster) {
	outside, one, two := c.podOn("web", "westeurope-1-1"), c.podOn("web", "westeurope-2-1"), c.podOn("web", "westeurope-2-2")
	c.do("cut", c.ground.ZoneLink(c.t.Context(), "westeurope", 2, false))
	s, err := c.ground.Status(c.t.Context())
	if err != nil || !slices.Equal(s.Regions[0].CutZones, []int{2}) {
		c.t.Errorf("cut zones: %v, %v", s.Regions[0].CutZones, err)
	}
	for what, ask := range map[string][2]corev1.Pod{"a pod of the other zone reaches in": {outside, one}, "a pod of the zone reaches out": {one, outside}} {
		if answer, err := c.fromPod(ask[0], podURL(ask[1])); !silent(err) {
			c.t.Errorf("%s: %q, %v; want silence", what, answer, err)
		}
	}
	for range 5 {
		if _, err := c.fromPod(one, podURL(two)); err != nil {
			c.t.Errorf("inside the zone, from node to node: %v", err)
		}
	}
	eventually(c.t, notice, "the zone's nodes are not ready", func() error {
		return errors.Join(c.nodeLost("westeurope-2-1"), c.nodeLost("westeurope-2-2"))
	})
	eventually(c.t, notice, "the way in leads to the other zone alone", func() error {
		url := c.entry()
		for range 10 {
			answer, err := fetch(c.t.Context(), nil, url)
			if err != nil {
				return err
			}
			if !strings.Contains(answer, "zone=westeurope-1") {
				return errors.New(answer)
			}
		}
		return nil
	})
	c.do("join", c.ground.ZoneLink(c.t.Context(), "westeurope", 2, true))
	eventually(c.t, 10*time.Second, "the zones reach each other", func() error {
		_, err := c.fromPod(outside, podURL(one))
		return err
	})
}

// entry is the host's way to the load balancer of the test's Deployment.
func (c *cluster) entry() string {
	c.t.Helper()
	s, err := c.ground.Status(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	for _, e := range s.Endpoints {
		if e.Service == application+"/web" && e.Region == c.region {
			return e.URL
		}
	}
	c.t.Fatalf("endpoints = %v", s.Endpoints)
	return ""
}

// programsKilled kills each in turn: it is another process after, and works.
func programsKilled(c *cluster) {
	const node = "westeurope-1-1"
	for _, part := range []string{
		"westeurope/etcd", "westeurope/apiserver", "westeurope/controller-manager", "westeurope/scheduler",
		node + "/containerd", node + "/kubelet", node + "/kube-proxy",
	} {
		before := c.processOf(part)
		if before == 0 {
			c.t.Fatalf("no process is %s", part)
		}
		c.do("kill "+part, c.ground.Kill(c.t.Context(), part))
		eventually(c.t, 30*time.Second, part+" is back", func() error {
			if now := c.processOf(part); now == 0 || now == before {
				return fmt.Errorf("its process is %d, was %d", now, before)
			}
			ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
			defer cancel()
			_, err := c.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
			return err
		})
	}
	for _, unknown := range []string{"westeurope/none", node + "/none", "none/kubelet"} {
		if err := c.ground.Kill(c.t.Context(), unknown); err == nil {
			c.t.Errorf("killing %s is no error", unknown)
		}
	}
	// What was restarted does its work: a new pod needs all of it.
	old := c.podOn("web", node)
	c.delete(old.Name)
	eventually(c.t, time.Minute, "a new pod runs on the node", func() error {
		for _, p := range c.pods("web") {
			if p.Spec.NodeName == node && p.UID != old.UID {
				return podReady(p)
			}
		}
		return errors.New("none yet")
	})
	eventually(c.t, 30*time.Second, "its ClusterIP leads there", func() error {
		service, err := c.CoreV1().Services(application).Get(c.t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		_, err = c.fromPod(c.podOn("web", node), "http://"+service.Spec.ClusterIP+"/")
		return err
	})
}

// processOf is the host's number of a program, found by its group and its name.
func (c *cluster) processOf(part string) int {
	c.t.Helper()
	g, err := cgroup.Open(group(c.ground.Name))
	if err != nil {
		c.t.Fatal(err)
	}
	place, program, _ := strings.Cut(part, "/")
	where := g.Child("system")
	if strings.Count(place, "-") == 2 {
		where = g.Child("nodes").Child(place).Child("system")
	}
	for _, pid := range where.Processes() {
		name, _, _ := bytes.Cut(commandLine(pid), []byte{0})
		base := string(name[bytes.LastIndexByte(name, '/')+1:])
		if base == program || base == "kube-"+program {
			return pid
		}
	}
	return 0
}
