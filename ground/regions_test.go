//go:build ground

package ground

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// Two regions are two clusters, joined by the backbone.
func TestTwoRegions(t *testing.T) {
	names := []string{"westeurope", "northeurope"}
	config := withEngines(t, Config{Name: "pair"})
	for _, name := range names {
		config.Regions = append(config.Regions, Region{Name: name, Zones: 1, Nodes: 1})
	}
	config.Files = workloads(config.Cache, false, names...)
	client := bring(t, config)
	s, err := client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := clientcmd.LoadFromFile(s.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if kubeconfig.CurrentContext != names[0] || len(kubeconfig.Contexts) != 2 {
		t.Errorf("contexts %v, current %s", kubeconfig.Contexts, kubeconfig.CurrentContext)
	}
	clusters := map[string]*cluster{}
	for _, name := range names {
		c := newCluster(t, client, name)
		clusters[name] = c
		nodes, err := c.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(nodes.Items) != 1 || nodes.Items[0].Name != name+"-1-1" {
			t.Errorf("context %s leads to the nodes %v", name, nodes.Items)
		}
		eventually(t, 90*time.Second, name+" is healthy, with its metrics", c.healthy)
		if answer, err := fetch(t.Context(), nil, c.entry()); err != nil || !strings.Contains(answer, "zone="+name+"-1") {
			t.Errorf("the way in to %s answers %q, %v", name, answer, err)
		}
	}
	for i, name := range names {
		from, to := clusters[name], clusters[names[1-i]]
		pod, target := from.podOn("web", name+"-1-1"), to.podOn("web", to.region+"-1-1")
		answer, err := from.fromPod(pod, podURL(target))
		if err != nil || !strings.HasPrefix(answer, "pod="+target.Name) {
			t.Errorf("from %s to %s: %q, %v", name, to.region, answer, err)
		}
	}
	if slices.Equal(clusters[names[0]].rest.CAData, clusters[names[1]].rest.CAData) {
		t.Error("the regions share an authority")
	}
	if clusters[names[0]].rest.Host == clusters[names[1]].rest.Host {
		t.Errorf("the regions share the address %s", clusters[names[0]].rest.Host)
	}

	// A machine that hangs does not hold the end up.
	f := takeFootprint(config.Name, stateOf(t, client))
	if err := client.Freeze(t.Context(), "northeurope-1-1", true); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	began := time.Now()
	if err := client.Down(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("down in %s", time.Since(began).Round(time.Millisecond))
	f.expectNothing(t, "down with a node that hangs")
}
