package deliver

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestWhyNot(t *testing.T) {
	pod := func(name, status string) unstructured.Unstructured {
		return *object(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nstatus: %s", name, status)
	}
	const ended = "container vehicle ended with exit code 3: Error"
	for want, status := range map[string]string{
		"":           `{containerStatuses: [{name: vehicle, state: {waiting: {reason: ContainerCreating}}}]}`,
		ended:        `{containerStatuses: [{name: vehicle, state: {terminated: {exitCode: 3, reason: Error}}}]}`,
		ended + " ":  `{containerStatuses: [{name: vehicle, state: {waiting: {reason: CrashLoopBackOff, message: back-off 20s}}, lastState: {terminated: {exitCode: 3, reason: Error}}}]}`,
		ended + "  ": `{containerStatuses: [{name: vehicle, state: {running: {}}, lastState: {terminated: {exitCode: 3, reason: Error}}}]}`,
		"container vehicle ended with exit code 137: OOMKilled":                         `{containerStatuses: [{name: vehicle, state: {running: {}}, lastState: {terminated: {exitCode: 137, reason: OOMKilled}}}]}`,
		"container vehicle waits: its image cannot be pulled":                           `{containerStatuses: [{name: vehicle, state: {waiting: {reason: ErrImagePull, message: a lot}}}]}`,
		"container vehicle waits: CreateContainerConfigError configmap \"x\" not found": `{containerStatuses: [{name: vehicle, state: {waiting: {reason: CreateContainerConfigError, message: 'configmap "x" not found'}}}]}`,
		"no node takes it: 0/3 nodes are available":                                     `{conditions: [{type: PodScheduled, status: "False", message: 0/3 nodes are available}]}`,
		" ": `{containerStatuses: [{name: vehicle, ready: true, state: {running: {}}, lastState: {terminated: {exitCode: 3, reason: Error}}}]}`,
	} {
		want := short(want) // what tells two of the same apart
		got, err := whyNot([]unstructured.Unstructured{pod("vehicle-2", status), pod("vehicle-1", "{}")})
		if err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", status, got, err, want)
		}
	}
}

// A pod that ends again and again is told once.
func TestCrashing(t *testing.T) {
	s := newScene(t, release)
	for _, state := range []string{"terminated: {exitCode: 3, reason: Error}", "waiting: {reason: CrashLoopBackOff}", "running: {}"} {
		s.at(0, sight{
			application: app(t, wanted, "Synced", operation(wanted, "Succeeded", "")), workload: ro(t, newImage, "h2", "h1", "\n  phase: Progressing"),
			sets: []unstructured.Unstructured{set(t, "h2", newImage, 0, 1)},
			pods: []unstructured.Unstructured{*object(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nstatus: {containerStatuses: [{name: vehicle, state: {%s}, lastState: {terminated: {exitCode: 3, reason: Error}}}]}", state)},
		})
	}
	s.goesOn()
	if len(s.say) != 2 || s.regions[0].rollout.Canary.Why != "container vehicle ended with exit code 3: Error" {
		t.Errorf("told %q; %+v", s.say, s.regions[0].rollout)
	}
}
