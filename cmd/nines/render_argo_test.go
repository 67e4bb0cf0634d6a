package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nines-ha/nines/render"
)

// The least of Argo Rollouts' manifest that its settings apply to.
const leastRollouts = `apiVersion: apps/v1
kind: Deployment
metadata: {name: argo-rollouts}
spec: {template: {spec: {containers: [{name: argo-rollouts}]}}}
`

func TestRenderArgo(t *testing.T) {
	dir := t.TempDir()
	write := func(name, body string) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	const head = "name: fleet\ndeliver: {environment: production}\nregions: {westeurope: {}, northeurope: {}}\nservices:\n  vehicle: {image: \"ghcr.io/example/vehicle:1.4.0\", expose: public}\n"
	both := write("both.yaml", head+"  command: {image: \"ghcr.io/example/command:1.0.0\"}\n")
	less := write("less.yaml", head)
	rollouts := write("argo-rollouts.yaml", leastRollouts)
	repository := filepath.Join(dir, "repository")

	argo := func(arguments ...string) (story string) {
		t.Helper()
		cmd := newRenderCommand(nil, func(string) (string, error) { return rollouts, nil })
		var stderr bytes.Buffer
		cmd.SetErr(&stderr)
		cmd.SetOut(&stderr)
		cmd.SetArgs(append([]string{"argo", "-o", repository, "--repository", "https://git.example.com/fleet.git"}, arguments...))
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		return stderr.String()
	}
	check := func(story string, want, not []string) {
		t.Helper()
		for _, line := range want {
			if !strings.Contains(story, line) {
				t.Errorf("%q is not in\n%s", line, story)
			}
		}
		if slices.ContainsFunc(not, func(s string) bool { return strings.Contains(story, s) }) {
			t.Errorf("one of %q is in\n%s", not, story)
		}
	}
	check(argo("-f", both), []string{
		"created environments/README.md",
		"created environments/production/argo/root.yaml",
		"created environments/production/argo/services/command.yaml",
		"created environments/production/regions/westeurope/platform/rollouts/argo-rollouts.yaml",
		"created environments/production/regions/westeurope/platform/monitoring/",
		"created environments/production/regions/northeurope/services/vehicle/rollout.yaml",
	}, []string{"services/vehicle/deployment.yaml"})

	// Another one beside it: what is not of it stays, rendered or not.
	if err := os.WriteFile(filepath.Join(repository, "notes.yaml"), []byte(render.Header), 0o600); err != nil {
		t.Fatal(err)
	}
	check(argo("-f", both, "--environment", "staging", "--image", "vehicle=ghcr.io/example/vehicle:1.5.0", "--json"), []string{
		"created environments/staging/argo/root.yaml", `"unchanged": [`,
	}, []string{"removed environments", "changed environments"})

	// Promoting renders the one with what the other has; what is gone is removed.
	check(argo("-f", less, "--image", "vehicle=ghcr.io/example/vehicle:1.5.0"), []string{
		"changed environments/production/regions/westeurope/services/vehicle/rollout.yaml",
		"removed environments/production/argo/services/command.yaml",
	}, []string{"staging", "notes"})

	for name, want := range map[string]string{
		"environments/production/regions/northeurope/services/vehicle/rollout.yaml": "image: ghcr.io/example/vehicle:1.5.0\n",
		"environments/staging/argo/root.yaml":                                       "path: environments/staging/argo\n",
		"environments/production/argo/services/vehicle.yaml":                        "type: RollingSync\n",
		"notes.yaml": render.Header,
	} {
		body, err := os.ReadFile(filepath.Join(repository, name))
		if err != nil || !strings.Contains(string(body), want) {
			t.Errorf("%s: %v, and %q is not in\n%s", name, err, want, body)
		}
	}
}
