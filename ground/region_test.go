//go:build ground

package ground

import (
	"strings"
	"testing"
	"time"
)

// TestRegion proves on one cluster that it is a real one, that it stands what is
// done to it, and that the host does not notice.
func TestRegion(t *testing.T) {
	before, openBefore, namedBefore := lookAtHost(t), listeners(t), namedSockets(t)
	hostUntouched := func(t *testing.T, when string) {
		t.Helper()
		before.compare(t, when, lookAtHost(t))
		expectNoneNew(t, when+" a listener for others", openBefore, listeners(t))
		expectNoneNew(t, when+" a socket with a name", namedBefore, namedSockets(t))
	}
	config := withEngines(t, Config{
		Name: "proof", Regions: []Region{{Name: "westeurope", Zones: 2, Nodes: 2}}, Stores: []string{"ledger"},
	})
	config.Files = workloads(config.Cache, true, "westeurope")
	client := bring(t, config)
	c := newCluster(t, client, "westeurope")
	for _, test := range []struct {
		name string
		run  func(*cluster)
	}{
		{"the API server keeps secrets secret", secretsEncrypted},
		{"no key for others", keysPrivate},
		{"no secret in an argument", noSecretInArguments},
		{"a node sees its own secrets only", nodeAuthorizer},
		{"pod security", podSecurity},
		{"audit log", auditLog},
		{"a Deployment over zones", spread},
		{"DNS", resolve},
		{"Services", services},
		{"load balancer", loadBalancer},
		{"logs, exec, attach, port-forward", kubectlVerbs},
		{"eviction", eviction},
		{"an image that nobody has", unknownImage},
		{"a volume stays in its zone", volume},
		{"autoscaling", autoscaling},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(c.in(t)) })
	}
	t.Run("host untouched while up", func(t *testing.T) { hostUntouched(t, "during the run") })
	for _, test := range []struct {
		name string
		run  func(*cluster)
	}{
		{"a zone is cut off", zoneCut},
		{"a node's cable is pulled", nodeCut},
		{"a node hangs", nodeFrozen},
		{"a node loses power", powerLoss},
		{"programs are killed", programsKilled},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := c.in(t)
			began := time.Now()
			test.run(c)
			eventually(t, 90*time.Second, "healthy again", c.healthy)
			t.Logf("took %s", time.Since(began).Round(time.Second))
		})
	}
	t.Run("files applied again", func(t *testing.T) { applyAgain(c.in(t), config.Cache) })
	t.Run("down", func(t *testing.T) {
		f := takeFootprint(config.Name, stateOf(t, client))
		if len(f.namespaces) < 20 || len(f.left()) == 0 {
			t.Errorf("a running ground has %d namespaces and leaves %q: this test sees nothing", len(f.namespaces), f.left())
		}
		began := time.Now()
		if err := client.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Logf("down in %s", time.Since(began).Round(time.Millisecond))
		f.expectNothing(t, "down")
		hostUntouched(t, "after down")
	})
}

func stateOf(t *testing.T, client *Client) string {
	t.Helper()
	state, _, ok := strings.Cut(client.socket, "/nines/")
	if !ok {
		t.Fatalf("socket %s", client.socket)
	}
	return state
}

func expectNoneNew(t *testing.T, what string, before, now []string) {
	t.Helper()
	old := map[string]bool{}
	for _, b := range before {
		old[b] = true
	}
	for _, n := range now {
		if !old[n] {
			t.Errorf("%s is new: %s", what, n)
		}
	}
}
