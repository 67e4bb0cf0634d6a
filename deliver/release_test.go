package deliver

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const (
	oldImage = "registry.local/fleet/vehicle@sha256:aaaaaaaaaaaaaaaaaaaa"
	newImage = "registry.local/fleet/vehicle@sha256:bbbbbbbbbbbbbbbbbbbb"
	before   = "1111111111111111111111111111111111111111"
	wanted   = "2222222222222222222222222222222222222222"
	later    = "3333333333333333333333333333333333333333"
)

func object(t *testing.T, format string, args ...any) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(fmt.Appendf(nil, format, args...), &o.Object); err != nil {
		t.Fatal(err)
	}
	return o
}

// app is an Application; more is of its status.
func app(t *testing.T, revision, status, more string) *unstructured.Unstructured {
	t.Helper()
	return object(t, `
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {namespace: argocd, name: vehicle-westeurope}
status:
  sync: {status: %s, revision: %q}
  health: {status: Progressing}
%s`, status, revision, more)
}

func operation(revision, phase, more string) string {
	return fmt.Sprintf(`
  operationState:
    phase: %s
    operation: {sync: {revision: %q}}
    syncResult: {revision: %q}
%s`, phase, revision, revision, more)
}

// ro is a Rollout whose template has an image, and whose status is about the
// version with a hash.
func ro(t *testing.T, image, hash, stable, status string) *unstructured.Unstructured {
	t.Helper()
	return object(t, `
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {namespace: fleet, name: vehicle, uid: u1, generation: 7, annotations: {rollout.argoproj.io/revision: "4"}}
spec:
  template: {spec: {containers: [{name: side, image: "x:1"}, {name: vehicle, image: %q}]}}
  strategy: {canary: {steps: [{setWeight: 20}, {pause: {duration: 20s}}, {setWeight: 60}, {pause: {}}]}}
status:
  observedGeneration: "7"
  currentPodHash: %s
  stableRS: %s
%s`, image, hash, stable, status)
}

func set(t *testing.T, hash, image string, ready, of int) unstructured.Unstructured {
	t.Helper()
	return *object(t, `
apiVersion: apps/v1
kind: ReplicaSet
metadata: {namespace: fleet, name: vehicle-%[1]s, labels: {rollouts-pod-template-hash: %[1]s}, ownerReferences: [{uid: u1}]}
spec: {replicas: %[4]d, template: {spec: {containers: [{name: vehicle, image: %[2]q}]}}}
status: {replicas: %[4]d, readyReplicas: %[3]d}`, hash, image, ready, of)
}

func analysis(t *testing.T, name, revision, results string) unstructured.Unstructured {
	t.Helper()
	return *object(t, `
apiVersion: argoproj.io/v1alpha1
kind: AnalysisRun
metadata: {namespace: fleet, name: %s, annotations: {rollout.argoproj.io/revision: %q}, ownerReferences: [{uid: u1}]}
status: {metricResults: %s}`, name, revision, results)
}

// A scene is a course that is shown one sight after the other.
type scene struct {
	*course
	t   *testing.T
	now time.Time
	say []string
}

func newScene(t *testing.T, r Release, regions ...string) *scene {
	if len(regions) == 0 {
		regions = []string{"westeurope"}
	}
	var all []Region
	for _, name := range regions {
		all = append(all, Region{Name: name, Application: "vehicle-" + name})
	}
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return &scene{course: newCourse(r, began, all), t: t, now: began}
}

var release = Release{Service: "vehicle", Namespace: "fleet", Kind: KindRollout, Revision: wanted, Image: newImage, Previous: oldImage}

func (s *scene) at(region int, one sight) {
	s.t.Helper()
	one.at = s.now
	for _, e := range s.look(region, one) {
		switch {
		case e.Sync != nil:
			s.say = append(s.say, strings.TrimSpace("sync "+Short(e.Sync.Revision)+" "+e.Sync.Status+" "+e.Sync.Operation))
		case e.Rollout != nil:
			s.say = append(s.say, fmt.Sprintf("%s %d/%d %d%% %d+%d", e.Rollout.Phase, e.Rollout.Step, e.Rollout.Steps, e.Rollout.Weight, e.Rollout.Canary.Ready, e.Rollout.Stable.Ready))
		case e.Metric != nil:
			s.say = append(s.say, e.Metric.Name+" "+e.Metric.Value+" "+e.Metric.Phase)
		default:
			s.say = append(s.say, "trouble "+e.Trouble)
		}
	}
}

func (s *scene) after(d time.Duration) { s.now = s.now.Add(d) }

func (s *scene) ends(want Outcome, because string) {
	s.t.Helper()
	v, ended := s.verdict(s.now)
	if !ended || v.Outcome != want || !strings.Contains(v.Because, because) {
		s.t.Errorf("ended %t: %+v; want %s because of %q", ended, v, want, because)
	}
}

func (s *scene) goesOn() {
	s.t.Helper()
	if v, ended := s.verdict(s.now); ended {
		s.t.Fatalf("ended: %+v", v)
	}
}

const weight20 = `
  phase: Paused
  message: CanaryPauseStep
  currentStepIndex: 1
  pauseConditions: [{reason: CanaryPauseStep}]
  canary: {weights: {canary: {weight: 20}, stable: {weight: 80}}}`

func TestPromoted(t *testing.T) {
	s := newScene(t, release)
	oldSet, newSet := set(t, "h1", oldImage, 3, 3), set(t, "h2", newImage, 1, 1)
	old := sight{application: app(t, before, "Synced", operation(before, "Succeeded", "")), workload: ro(t, oldImage, "h1", "h1", "\n  phase: Healthy"), sets: []unstructured.Unstructured{oldSet}}
	s.at(0, old)
	s.goesOn() // the old version is healthy
	s.at(0, old)

	running := app(t, wanted, "OutOfSync", operation(wanted, "Running", ""))
	s.at(0, sight{application: running, workload: old.workload, sets: old.sets})
	// Applied, and the controller has not looked: its status is still about the old.
	stale := ro(t, newImage, "h1", "h1", "\n  phase: Healthy")
	stale.Object["status"].(map[string]any)["observedGeneration"] = "6"
	s.at(0, sight{application: running, workload: stale, sets: old.sets})
	s.goesOn()
	// It says that it has looked, and its hash is the old one still.
	s.at(0, sight{application: running, workload: ro(t, newImage, "h1", "h1", "\n  phase: Healthy"), sets: old.sets})
	s.goesOn()

	synced := app(t, wanted, "Synced", operation(wanted, "Succeeded", ""))
	sets := []unstructured.Unstructured{oldSet, newSet}
	s.at(0, sight{application: synced, workload: ro(t, newImage, "h2", "h1", weight20), sets: sets, runs: []unstructured.Unstructured{
		analysis(t, "earlier", "2", `[{name: success, phase: Failed, count: 3, measurements: [{phase: Failed, value: "0.2"}]}]`),
		analysis(t, "vehicle-h2-4", "4", `[{name: success, phase: Running, count: 1, measurements: [{phase: Successful, value: "0.999"}]}]`),
	}})
	s.goesOn()
	s.at(0, sight{application: synced, workload: ro(t, newImage, "h2", "h2", "\n  phase: Healthy\n  currentStepIndex: 4"), sets: []unstructured.Unstructured{oldSet, set(t, "h2", newImage, 3, 3)}})
	s.ends(Promoted, "bbbbbbbbbbbb runs alone in westeurope")

	if diff := cmp.Diff([]string{
		"sync 111111111 Synced Succeeded", "sync 222222222 OutOfSync Running", "sync 222222222 Synced Succeeded",
		"Paused 2/4 20% 1+3", "success 0.999 Running", "Healthy 4/4 0% 0+3",
	}, s.say); diff != "" {
		t.Error(diff)
	}
}

func TestNotPromotedYet(t *testing.T) {
	synced := app(t, wanted, "Synced", operation(wanted, "Succeeded", ""))
	sets := []unstructured.Unstructured{set(t, "h1", oldImage, 3, 3), set(t, "h2", newImage, 3, 3)}
	early := ro(t, newImage, "h2", "h2", "\n  phase: Healthy")
	early.Object["status"].(map[string]any)["observedGeneration"] = "6"
	for name, c := range map[string]sight{
		"another is the stable one":           {application: synced, workload: ro(t, newImage, "h2", "h1", "\n  phase: Healthy"), sets: sets},
		"the controller has not looked":       {application: synced, workload: early, sets: sets},
		"its objects are being applied still": {application: app(t, wanted, "OutOfSync", operation(wanted, "Running", "")), workload: ro(t, newImage, "h2", "h2", "\n  phase: Healthy"), sets: sets},
		"there is none":                       {application: synced},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, release)
			s.at(0, c)
			s.goesOn()
		})
	}
}

func TestAborted(t *testing.T) {
	s := newScene(t, release)
	synced := app(t, wanted, "Synced", operation(wanted, "Succeeded", ""))
	sets := []unstructured.Unstructured{set(t, "h1", oldImage, 3, 3), set(t, "h2", newImage, 1, 1)}
	// The release before was aborted, and its status is still there.
	s.at(0, sight{application: synced, workload: ro(t, newImage, "h0", "h1", "\n  phase: Degraded\n  abort: true"), sets: append(sets, set(t, "h0", "x:0", 0, 0))})
	s.goesOn()
	s.at(0, sight{application: synced, workload: ro(t, newImage, "h2", "h1", weight20), sets: sets})
	s.goesOn()
	s.at(0, sight{application: synced, workload: ro(t, newImage, "h2", "h1", `
  phase: Degraded
  abort: true
  message: 'RolloutAborted: metric "success" assessed Failed'`), sets: sets})
	s.ends(Aborted, `metric "success" assessed Failed`)
}

func TestDegradedFirstHasToLast(t *testing.T) {
	s := newScene(t, release)
	synced := app(t, wanted, "Synced", operation(wanted, "Succeeded", ""))
	sets := []unstructured.Unstructured{set(t, "h1", oldImage, 3, 3), set(t, "h2", newImage, 0, 1)}
	degraded := sight{application: synced, workload: ro(t, newImage, "h2", "h1", "\n  phase: Degraded\n  message: 'ProgressDeadlineExceeded: timed out'"), sets: sets}
	s.at(0, degraded)
	s.goesOn()
	s.after(degrade - time.Second)
	s.at(0, sight{application: synced, workload: ro(t, newImage, "h2", "h1", weight20), sets: sets})
	s.after(degrade)
	s.at(0, degraded)
	s.goesOn()
	s.after(degrade)
	s.at(0, degraded)
	s.ends(Aborted, "ProgressDeadlineExceeded")
}

func TestInconclusiveWaits(t *testing.T) {
	s := newScene(t, release)
	s.at(0, sight{
		application: app(t, wanted, "Synced", operation(wanted, "Succeeded", "")),
		workload:    ro(t, newImage, "h2", "h1", "\n  phase: Paused\n  currentStepIndex: 1\n  pauseConditions: [{reason: InconclusiveAnalysisRun}]"),
		sets:        []unstructured.Unstructured{set(t, "h2", newImage, 1, 1)},
	})
	s.goesOn()
	v := s.unfinished(s.now, TimedOut)
	if want := "westeurope: paused at step 2 of 4, since the analysis could not tell"; v.Because != want || v.Outcome != TimedOut {
		t.Errorf("verdict %+v, want %q", v, want)
	}
}

func TestRefused(t *testing.T) {
	invalid := `
    message: one or more objects failed to apply
    retryCount: %d
    syncResult:
      revision: %q
      resources: [{kind: Rollout, namespace: fleet, name: vehicle, status: SyncFailed, message: 'spec.replicas: must be an integer'}]`
	failed := func(t *testing.T, revision, phase string, retries int) *unstructured.Unstructured {
		return app(t, revision, "OutOfSync", fmt.Sprintf("\n  operationState:\n    phase: %s\n    operation: {sync: {revision: %q}}", phase, revision)+fmt.Sprintf(invalid, retries, revision))
	}
	t.Run("of an earlier commit", func(t *testing.T) {
		s := newScene(t, release)
		s.at(0, sight{application: failed(t, before, "Failed", 0)})
		s.goesOn()
	})
	t.Run("an object", func(t *testing.T) {
		s := newScene(t, release)
		s.at(0, sight{application: failed(t, wanted, "Failed", 0)})
		s.ends(Refused, "Rollout fleet/vehicle: spec.replicas: must be an integer")
	})
	t.Run("again and again", func(t *testing.T) {
		s := newScene(t, release)
		s.at(0, sight{application: failed(t, wanted, "Running", 1)})
		s.after(retries - time.Second)
		s.at(0, sight{application: failed(t, wanted, "Running", 5)})
		s.goesOn()
		s.after(2 * time.Second)
		s.at(0, sight{application: failed(t, wanted, "Running", 6)})
		s.ends(Refused, "tries on by itself")
	})
	t.Run("a file", func(t *testing.T) {
		s := newScene(t, release)
		broken1 := app(t, wanted, "Unknown", `
  conditions: [{type: ComparisonError, message: 'Failed to unmarshal "rollout.yaml": line 7: mapping values are not allowed'}]`)
		s.at(0, sight{application: broken1})
		s.goesOn() // it may be about the commit before
		s.after(broken)
		s.at(0, sight{application: broken1})
		s.ends(Refused, `"rollout.yaml"`)
	})
	t.Run("not what cannot be asked", func(t *testing.T) {
		s := newScene(t, release)
		away := app(t, before, "Unknown", `
  conditions: [{type: ComparisonError, message: 'rpc error: code = Unavailable desc = connection refused'}]`)
		s.at(0, sight{application: away})
		s.after(time.Hour)
		s.at(0, sight{application: away})
		s.goesOn()
	})
}

func TestOutOfSight(t *testing.T) {
	s := newScene(t, release)
	down := sight{err: errors.New("connection refused")}
	s.at(0, down)
	s.after(aside - time.Millisecond)
	s.at(0, down)
	if len(s.say) > 0 {
		t.Errorf("told at once: %q", s.say)
	}
	for range 10 {
		s.after(time.Minute)
		s.at(0, down)
	}
	s.goesOn()
	s.at(0, sight{application: app(t, before, "Synced", "")})
	if diff := cmp.Diff([]string{"trouble connection refused", "trouble ", "sync 111111111 Synced"}, s.say); diff != "" {
		t.Error(diff)
	}
}

func TestNoApplication(t *testing.T) {
	s := newScene(t, release)
	s.at(0, sight{})
	s.after(missing - time.Second)
	s.at(0, sight{})
	s.goesOn()
	s.after(time.Second)
	s.at(0, sight{})
	s.ends(TimedOut, "no Application vehicle-westeurope")
}

// What runs alone already is not measured any more.
func TestPromotedBefore(t *testing.T) {
	s := newScene(t, release)
	s.at(0, sight{
		application: app(t, later, "Synced", operation(wanted, "Succeeded", "")), workload: ro(t, newImage, "h2", "h2", "\n  phase: Healthy\n  currentStepIndex: 4"),
		sets: []unstructured.Unstructured{set(t, "h2", newImage, 3, 3)},
		runs: []unstructured.Unstructured{analysis(t, "vehicle-h2-4", "4", `[{name: success, phase: Successful, count: 1}]`)},
	})
	s.ends(Promoted, "")
	if diff := cmp.Diff([]string{"sync 333333333 Synced Succeeded", "Healthy 4/4 0% 0+3"}, s.say); diff != "" {
		t.Error(diff)
	}
}

// Somebody pushed again before Argo CD looked: it never is at the commit itself.
func TestOvertaken(t *testing.T) {
	s := newScene(t, release)
	sets := []unstructured.Unstructured{set(t, "h2", newImage, 3, 3)}
	s.at(0, sight{application: app(t, later, "OutOfSync", operation(later, "Running", "")), workload: ro(t, newImage, "h2", "h2", "\n  phase: Healthy"), sets: sets})
	s.ends(Promoted, "")
}

// Where only settings change, the image does not tell the old from the new.
func TestSameImage(t *testing.T) {
	r := release
	r.Previous = r.Image
	s := newScene(t, r)
	healthy := ro(t, newImage, "h2", "h2", "\n  phase: Healthy")
	sets := []unstructured.Unstructured{set(t, "h2", newImage, 3, 3)}
	s.at(0, sight{application: app(t, before, "Synced", operation(before, "Succeeded", "")), workload: healthy, sets: sets})
	s.goesOn()
	s.at(0, sight{application: app(t, wanted, "OutOfSync", operation(wanted, "Running", "")), workload: healthy, sets: sets})
	s.goesOn()
	s.at(0, sight{application: app(t, wanted, "Synced", operation(wanted, "Succeeded", "")), workload: healthy, sets: sets})
	s.ends(Promoted, "")
}

func TestRegions(t *testing.T) {
	done := func(s *scene, region int) {
		s.at(region, sight{
			application: app(t, wanted, "Synced", operation(wanted, "Succeeded", "")),
			workload:    ro(t, newImage, "h2", "h2", "\n  phase: Healthy"), sets: []unstructured.Unstructured{set(t, "h2", newImage, 3, 3)},
		})
	}
	s := newScene(t, release, "westeurope", "northeurope")
	done(s, 0)
	s.goesOn()
	done(s, 1)
	s.ends(Promoted, "westeurope, northeurope")

	s = newScene(t, release, "westeurope", "northeurope")
	s.at(1, sight{
		application: app(t, wanted, "Synced", operation(wanted, "Succeeded", "")),
		workload:    ro(t, newImage, "h2", "h1", "\n  phase: Degraded\n  abort: true"), sets: []unstructured.Unstructured{set(t, "h2", newImage, 0, 1)},
	})
	s.ends(Aborted, "")
	if v, _ := s.verdict(s.now); v.Region != "northeurope" {
		t.Errorf("region %q", v.Region)
	}
}

func TestDeployment(t *testing.T) {
	deployment := func(updated, available int, condition string) *unstructured.Unstructured {
		return object(t, `
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: fleet, name: vehicle, generation: 3}
spec: {replicas: 3, template: {spec: {containers: [{name: vehicle, image: %q}]}}}
status: {observedGeneration: 3, replicas: 3, updatedReplicas: %d, availableReplicas: %d, conditions: [%s]}`, newImage, updated, available, condition)
	}
	r := release
	r.Kind = KindDeployment
	synced := app(t, wanted, "Synced", operation(wanted, "Succeeded", ""))

	s := newScene(t, r)
	s.at(0, sight{application: synced, workload: deployment(2, 3, "")})
	s.goesOn()
	s.at(0, sight{application: synced, workload: deployment(3, 3, "")})
	s.ends(Promoted, "")

	s = newScene(t, r)
	late := deployment(1, 3, "{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded, message: has timed out}")
	s.at(0, sight{application: synced, workload: late})
	s.after(degrade)
	s.at(0, sight{application: synced, workload: late})
	s.ends(Aborted, "has timed out")
}

func TestEventsAreBounded(t *testing.T) {
	s := newScene(t, release)
	for i := range mostEvents + 100 {
		s.at(0, sight{application: app(t, fmt.Sprintf("%040d", i), "OutOfSync", "")})
	}
	if len(s.say) != mostEvents {
		t.Errorf("%d events", len(s.say))
	}
	long := app(t, before, "Synced", "\n  conditions: [{type: ComparisonError, message: '"+strings.Repeat("ä", 10_000)+"'}]")
	sync, err := syncOf(*long)
	if err != nil || len(sync.Error) > longest+len("…") {
		t.Errorf("a message of %d bytes, %v", len(sync.Error), err)
	}
}
