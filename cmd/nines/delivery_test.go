package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nines-ha/nines/deliver"
)

// From one version to the next and back, region by region.
func TestDeploy(t *testing.T) {
	s := newShop(t)
	code, _, said := s.nines(t.Context(), "deploy", "hello", "--image", "registry.local/shop/hello:1.1", "-m", "kinder words")
	if code != 0 {
		t.Fatalf("exit %d:\n%s", code, said)
	}
	s.holds("1.1", "1.1", 3)
	short := deliver.ShortImage(s.references["1.1"])
	has(t, said, "hello: deploy 1.1 in west", "hello: deploy 1.1 in north", "west: "+short+" runs alone in west", "weight 20 %", "PROMOTED hello", short+" runs alone in west, north")
	has(t, s.git("log", "-1", "--format=%B", "main"), "kinder words", "Nines-Service: hello", "Nines-Image: "+s.references["1.1"], "Nines-Previous: "+s.references["1.0"])

	code, out, said := s.nines(t.Context(), "deploy", "hello", "--image", "registry.local/shop/hello:1.1", "--json")
	if code != 0 {
		t.Errorf("again: exit %d:\n%s", code, said)
	}
	has(t, said, "nothing to change")
	s.holds("1.1", "1.1", 3)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var last deliveryLine
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Verdict == nil || last.Verdict.Outcome != deliver.Promoted {
		t.Errorf("the last line is %s, %v", lines[len(lines)-1], err)
	}

	code, out, said = s.nines(t.Context(), "rollback", "hello", "--json")
	if code != 0 {
		t.Fatalf("rollback: exit %d:\n%s", code, said)
	}
	s.holds("1.0", "1.0", 4)
	has(t, said, "takes back", "hello: deploy 1.1 in west", "hello: deploy 1.1 in north", "PROMOTED hello")
	has(t, out, `"undoes":["`, `"previous":"`+s.references["1.1"])

	code, _, said = s.nines(t.Context(), "rollback", "hello")
	if code != exitNo {
		t.Errorf("rollback of nothing: exit %d", code)
	}
	has(t, said, "REFUSED hello", "nothing to roll back")

	code, _, said = s.nines(t.Context(), "deploy", "--follow", "hello")
	if code != 0 {
		t.Errorf("follow: exit %d:\n%s", code, said)
	}
	has(t, said, "hello: roll back to "+deliver.ShortImage(s.references["1.0"])+" in")
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "nines-git-*")); err != nil || len(left) > 0 {
		t.Errorf("%q is left, %v", left, err)
	}
}

func TestDeployAborted(t *testing.T) {
	s := newShop(t)
	s.bad[s.references["1.1"]] = true
	code, _, said := s.nines(t.Context(), "deploy", "hello", "--image", "registry.local/shop/hello:1.1")
	if code != exitNo {
		t.Errorf("exit %d", code)
	}
	s.holds("1.1", "1.0", 2) // the second region never gets it
	has(t, said, "ABORTED hello in west", `metric "success" assessed Failed`, "not touched: north", "Git still holds "+deliver.ShortImage(s.references["1.1"]), "nines rollback hello")

	// What was aborted is no canary on its way: the next version may come.
	code, _, said = s.nines(t.Context(), "deploy", "hello", "--image", "registry.local/shop/hello:1.2")
	if code != 0 {
		t.Errorf("the version after: exit %d:\n%s", code, said)
	}
	s.holds("1.2", "1.2", 4)
}

func TestDeployRevertsOnAbort(t *testing.T) {
	s := newShop(t)
	s.bad[s.references["1.1"]] = true
	code, out, said := s.nines(t.Context(), "deploy", "hello", "--image", "registry.local/shop/hello:1.1", "--revert-on-abort", "--json")
	if code != exitNo {
		t.Errorf("exit %d", code)
	}
	s.holds("1.0", "1.0", 3)
	has(t, said, "ABORTED hello in west", "takes back", "PROMOTED hello")
	if n := strings.Count(out, `{"verdict":`); n != 2 {
		t.Errorf("%d verdicts in\n%s", n, out)
	}
	has(t, s.git("log", "-1", "--format=%B", "main"), "taken back since it was aborted", "Nines-Undoes: ")
}

func TestDeployWhileAnotherIsOnItsWay(t *testing.T) {
	s := newShop(t)
	s.stuck = true
	code, _, said := s.nines(t.Context(), "deploy", "hello", "--image", "registry.local/shop/hello:1.1", "--timeout", "1s")
	if code != exitTrouble {
		t.Errorf("exit %d", code)
	}
	has(t, said, "TIMEOUT hello", "not touched: north", "nines deploy --follow hello")
	s.holds("1.1", "1.0", 2)

	// The same again is followed, and not refused.
	code, _, said = s.nines(t.Context(), "deploy", "hello", "--image", "registry.local/shop/hello:1.1", "--timeout", "1s")
	if code != exitTrouble {
		t.Errorf("the same again: exit %d", code)
	}
	has(t, said, "nothing to change", "TIMEOUT hello")

	code, _, said = s.nines(t.Context(), "deploy", "hello", "--image", "registry.local/shop/hello:1.2", "--timeout", "10s")
	if code != exitNo {
		t.Errorf("a second one: exit %d", code)
	}
	has(t, said, "REFUSED hello in west", deliver.ShortImage(s.references["1.1"])+" is on its way", "--supersede")
	s.holds("1.1", "1.0", 2)

	s.mu.Lock()
	s.stuck = false
	s.looks = map[string]int{}
	s.mu.Unlock()
	code, _, said = s.nines(t.Context(), "deploy", "hello", "--image", "registry.local/shop/hello:1.2", "--supersede")
	if code != 0 {
		t.Errorf("superseded: exit %d", code)
	}
	has(t, said, "is on its way", "; superseded", "PROMOTED hello")
	s.holds("1.2", "1.2", 4)
}

func TestDeployInterrupted(t *testing.T) {
	s := newShop(t)
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	code, _, said := s.nines(ctx, "deploy", "hello", "--image", "registry.local/shop/hello:1.1")
	if code != exitTrouble {
		t.Errorf("exit %d", code)
	}
	has(t, said, "interrupted before anything was pushed")
	s.holds("1.0", "1.0", 1)

	// Ctrl-C, once it is in Git and a canary.
	s.stuck = true
	ctx, interrupt = context.WithCancel(t.Context())
	defer interrupt()
	s.asked = func(string, bool) {
		if s.looks["west"+s.references["1.1"]] > 1 {
			interrupt()
		}
	}
	code, _, said = s.nines(ctx, "deploy", "hello", "--image", "registry.local/shop/hello:1.1")
	if code != exitTrouble {
		t.Errorf("exit %d", code)
	}
	has(t, said, "INTERRUPTED hello", "goes on without this command", "nines deploy --follow hello", "not touched: north")
	s.holds("1.1", "1.0", 2)

	// Ctrl-C between the regions; and the same again goes on.
	s.stuck = false
	ctx, interrupt = context.WithCancel(t.Context())
	defer interrupt()
	s.asked = func(region string, _ bool) {
		if region == "north" {
			interrupt()
		}
	}
	code, _, said = s.nines(ctx, "deploy", "hello", "--image", "registry.local/shop/hello:1.1")
	if code != exitTrouble {
		t.Errorf("exit %d", code)
	}
	has(t, said, "INTERRUPTED hello", "runs alone in west", "not touched: north", "deploy the same again to go on with north")
	s.holds("1.1", "1.0", 2)
	s.asked = nil
	if code, _, said = s.nines(t.Context(), "deploy", "hello", "--image", "registry.local/shop/hello:1.1"); code != 0 {
		t.Errorf("again: exit %d:\n%s", code, said)
	}
	s.holds("1.1", "1.1", 3)
}

// What is in Git and not in the cluster would be overtaken unseen.
func TestDeployBeforeTheLastArrived(t *testing.T) {
	s := newShop(t)
	s.away = true
	if code, _, said := s.nines(t.Context(), "deploy", "hello", "--image", "registry.local/shop/hello:1.1", "--timeout", "1s"); code != exitTrouble {
		t.Errorf("exit %d:\n%s", code, said)
	}
	code, _, said := s.nines(t.Context(), "deploy", "hello", "--image", "registry.local/shop/hello:1.2", "--timeout", "10s")
	if code != exitNo {
		t.Errorf("exit %d", code)
	}
	has(t, said, "REFUSED hello in west", "Git holds "+deliver.ShortImage(s.references["1.1"])+", which has not arrived yet")
	s.holds("1.1", "1.0", 2)
}

// What somebody else deployed meanwhile is not ours to take back.
func TestDeployDoesNotRevertOthers(t *testing.T) {
	s := newShop(t)
	s.bad[s.references["1.1"]] = true
	others := false
	s.asked = func(_ string, aborted bool) {
		if aborted && !others {
			others = true
			s.publish("1.2", deliver.Deployment{Service: "hello", Image: s.references["1.2"], Previous: s.references["1.1"], Regions: []string{"north"}})
		}
	}
	code, _, said := s.nines(t.Context(), "deploy", "hello", "--image", "registry.local/shop/hello:1.1", "--revert-on-abort")
	if code != exitNo {
		t.Errorf("exit %d", code)
	}
	has(t, said, "ABORTED hello in west", "was deployed since, by Bob")
	s.holds("1.1", "1.2", 3)
}

func TestRollbackConflict(t *testing.T) {
	s := newShop(t)
	if code, _, said := s.nines(t.Context(), "deploy", "hello", "--image", "registry.local/shop/hello:1.1"); code != 0 {
		t.Fatal(said)
	}
	s.publish("1.2", deliver.Deployment{})
	code, _, said := s.nines(t.Context(), "rollback", "hello")
	if code != exitNo {
		t.Errorf("exit %d", code)
	}
	has(t, said, "REFUSED hello", "environments/shop/north/hello.yaml changed again since", "nines deploy")
	s.holds("1.1", "1.2", 4)
}

func TestDeployRefusesImages(t *testing.T) {
	s := newShop(t)
	for reference, want := range map[string]string{
		"registry.local/shop/hello:9.9":                               "has no registry.local/shop/hello:9.9; put it there with \"nines images load\"",
		"registry.local/shop/hello@sha256:" + strings.Repeat("0", 64): "nines images load",
		"NOT AN IMAGE": "image reference",
	} {
		code, _, said := s.nines(t.Context(), "deploy", "hello", "--image", reference)
		if code != exitTrouble || !strings.Contains(said, want) {
			t.Errorf("%s: exit %d, %s", reference, code, said)
		}
	}
	s.holds("1.0", "1.0", 1)
}

// The story as people read it.
func TestDeliveryStory(t *testing.T) {
	var said bytes.Buffer
	s := newDeliveryStory(&said)
	seconds := 0.0
	s.since = func(time.Time) time.Duration { seconds += 1.5; return time.Duration(seconds * float64(time.Second)) }
	const image, previous = "registry.local/fleet/vehicle@sha256:bbbbbbbbbbbbbbbb", "registry.local/fleet/vehicle@sha256:aaaaaaaaaaaaaaaa"
	hash := strings.Repeat("2", 40)
	d := deliver.Deployment{Commit: deliver.Commit{Hash: hash, Subject: "vehicle: deploy v1.4.0 in westeurope"}, Service: "vehicle", Image: image, Previous: previous}
	for i := range 12 {
		d.Files = append(d.Files, fmt.Sprintf("environments/production/regions/westeurope/services/vehicle/%d.yaml", i))
	}
	s.commit(d)
	pods := func(ready, wanted int) deliver.Pods { return deliver.Pods{Ready: ready, Wanted: wanted} }
	for _, e := range []deliver.Event{
		{Sync: &deliver.Sync{Status: "OutOfSync", Revision: hash, Health: "Healthy", Operation: "Running", Syncing: hash}},
		{Sync: &deliver.Sync{Status: "OutOfSync", Revision: hash, Health: "Healthy", Operation: "Running", Syncing: hash, Retries: 2, Message: "one or more objects failed to apply", Refused: []string{"Rollout fleet/vehicle: spec.replicas: must be an integer"}}},
		{Sync: &deliver.Sync{Status: "Unknown", Revision: hash, Health: "Healthy", Error: `ComparisonError: failed to unmarshal "rollout.yaml"`}},
		{Sync: &deliver.Sync{Status: "Synced", Revision: hash, Health: "Progressing", Operation: "Succeeded", Syncing: hash}},
		{Rollout: &deliver.Rollout{Phase: "Progressing", Message: "more replicas need to be updated", Image: image, Step: 1, Steps: 6, Canary: pods(0, 1), Stable: pods(3, 3)}},
		{Rollout: &deliver.Rollout{Phase: "Progressing", Image: image, Step: 1, Steps: 6, Canary: deliver.Pods{Wanted: 1, Why: "container vehicle ended with exit code 3: Error"}, Stable: pods(3, 3)}},
		{Rollout: &deliver.Rollout{Phase: "Paused", Message: "CanaryPauseStep", Paused: "CanaryPauseStep", Image: image, Step: 2, Steps: 6, Weight: 20, Canary: pods(1, 1), Stable: pods(3, 3)}},
		{Metric: &deliver.Metric{Name: "success-rate", Phase: "Running", Value: "0.9994", Count: 3}},
		{Metric: &deliver.Metric{Name: "p99", Phase: "Failed", Value: "0.412", Count: 4, Failed: 2, Message: "failed (2) > failureLimit (1)"}},
		{Metric: &deliver.Metric{Name: "success", Phase: "Successful", Value: "[104.19666666666666,409.3333333333333]", Count: 1}},
		{Metric: &deliver.Metric{Name: "success", Phase: "Inconclusive", Value: "[NaN]", Count: 1, Unsure: 1}},
		{Metric: &deliver.Metric{Name: "success", Phase: "Inconclusive", Value: "[]", Count: 1, Unsure: 1}},
		{Metric: &deliver.Metric{Name: "requests", Phase: "Running", Count: 2, Unsure: 1, Errors: 1}},
		{Rollout: &deliver.Rollout{Phase: "Paused", Paused: "InconclusiveAnalysisRun", Image: image, Step: 2, Steps: 6, Weight: 20, Canary: pods(1, 1), Stable: pods(3, 3)}},
		{Trouble: "ask for Application vehicle-westeurope: connection refused"},
		{},
		{Rollout: &deliver.Rollout{Phase: "Degraded", Aborted: true, Message: "RolloutAborted: p99 assessed Failed", Image: image, Step: 1, Steps: 6, Canary: pods(1, 1), Stable: pods(3, 3)}},
	} {
		e.Region = "westeurope"
		s.event(e)
	}
	for _, v := range []deliver.Verdict{
		{Outcome: deliver.Promoted, Because: "bbbbbbbbbbbb runs alone in westeurope"},
		{Outcome: deliver.Aborted, Because: "RolloutAborted: p99 assessed Failed", Region: "westeurope", Waiting: []string{"northeurope"}},
		{Outcome: deliver.Refused, Because: "one or more objects failed to apply", Region: "westeurope"},
		{Outcome: deliver.TimedOut, Because: "westeurope: paused at step 2 of 6, since the analysis could not tell"},
		{Outcome: deliver.Interrupted, Because: "westeurope: paused at step 2 of 6, weight 20 %", Waiting: []string{"northeurope"}},
	} {
		v.Service, v.Revision, v.Image, v.Previous, v.Took = "vehicle", hash, image, previous, 63200*time.Millisecond
		said.WriteString("\n")
		s.verdict(v)
	}
	const golden = "testdata/delivery.golden"
	if *update {
		if err := os.WriteFile(golden, said.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), said.String()); diff != "" {
		t.Error(diff)
	}
}

// One value of two is the stable version's: the canary has none.
func TestMeasured(t *testing.T) {
	for value, want := range map[string]string{
		"[99.5,100]": "99.5 | 100", "[100]": "– | 100", "[]": "no value", "": "no value", "0.25": "0.25", "NaN": "NaN",
	} {
		if got := measured(value); got != want {
			t.Errorf("%q is told as %q, want %q", value, got, want)
		}
	}
}
