package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/nines-ha/nines/deliver"
	"github.com/nines-ha/nines/render"
	"github.com/nines-ha/nines/system"
)

const deliveredSystem = `name: shop
regions: {west: {zones: 1}, north: {zones: 1}}
services:
  hello: {image: registry.local/shop/hello:1.0}
`

// A shop is a repository, and an Argo that makes of it what a real one would: a
// canary that is seen once, and then runs alone, or is aborted.
type shop struct {
	t          *testing.T
	dir        string
	references map[string]string // of image by tag

	mu    sync.Mutex
	bad   map[string]bool   // image by reference: it is aborted
	runs  map[string]string // image by region
	looks map[string]int    // at the present image of a region
	stuck bool              // a canary stays where it is
	away  bool              // Argo CD does not look at Git
	asked func(region string, aborted bool)
}

func newShop(t *testing.T) *shop {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	s := &shop{t: t, dir: t.TempDir(), references: map[string]string{}, bad: map[string]bool{}, runs: map[string]string{}, looks: map[string]int{}}
	t.Setenv("XDG_CACHE_HOME", filepath.Join(s.dir, "cache"))
	t.Setenv("TMPDIR", s.dir)
	store, err := openImages()
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"1.0", "1.1", "1.2"} {
		img, err := random.Image(100, 1)
		if err != nil {
			t.Fatal(err)
		}
		digest, err := store.Put("registry.local/shop/hello:"+tag, img)
		if err != nil {
			t.Fatal(err)
		}
		s.references[tag] = "registry.local/shop/hello@" + digest.String()
	}
	if err := os.WriteFile(filepath.Join(s.dir, "nines.yaml"), []byte(deliveredSystem), 0o600); err != nil {
		t.Fatal(err)
	}
	s.git("init", "--quiet", "--bare", "--initial-branch=main", ".")
	r, err := deliver.Clone(t.Context(), s.access(), deliver.Author{Name: "nines", Email: "nines@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	files := []render.File{{Path: "environments/other/west/hello.yaml", Body: []byte(render.Header + "image: other\n")}}
	for _, region := range []string{"west", "north"} {
		files = append(files, helloFile(region, s.references["1.0"]))
		s.runs[region] = s.references["1.0"]
	}
	_, err = r.Publish(t.Context(), func(ctx context.Context) (deliver.Commit, error) {
		if _, err := r.Replace(files); err != nil {
			return deliver.Commit{}, err
		}
		return r.Commit(ctx, "first")
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *shop) access() deliver.Access {
	return deliver.Access{URL: "file://" + filepath.Join(s.dir, "platform.git")}
}

func (s *shop) git(args ...string) string {
	s.t.Helper()
	dir := filepath.Join(s.dir, "platform.git")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func helloFile(region, image string) render.File {
	return render.File{Path: "environments/shop/" + region + "/hello.yaml", Body: []byte(render.Header + "image: " + image + "\n")}
}

// find is a DeliveryFunc.
func (s *shop) find(context.Context, *system.System, string) (*delivery, error) {
	d := &delivery{
		Access: s.access(), Folder: "environments/shop", Kind: deliver.KindRollout,
		Images: func(tree []render.File, region string) (map[string]string, error) {
			for _, f := range tree {
				if f.Path == helloFile(region, "").Path {
					_, image, _ := strings.Cut(string(f.Body), "image: ")
					return map[string]string{"hello": strings.TrimSpace(image)}, nil
				}
			}
			return nil, errors.New("no such region")
		},
		Render: func(tree []render.File, region string, images map[string]string) ([]render.File, error) {
			var files []render.File
			for _, f := range tree {
				switch {
				case f.Path == helloFile(region, "").Path:
					files = append(files, helloFile(region, images["hello"]))
				case strings.HasPrefix(f.Path, "environments/shop/"):
					files = append(files, f)
				}
			}
			return files, nil
		},
		Follower: &deliver.Follower{},
	}
	for _, region := range []string{"west", "north"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, region) }))
		s.t.Cleanup(server.Close)
		objects, err := dynamic.NewForConfig(&rest.Config{Host: server.URL, QPS: 1000, Burst: 1000})
		if err != nil {
			return nil, err
		}
		if d.Follower.Argo == nil {
			d.Follower.Argo = objects
		}
		d.Follower.Regions = append(d.Follower.Regions, deliver.Region{Name: region, Application: "hello-" + region, Objects: objects})
	}
	return d, nil
}

// answer is what Argo makes of the newest commit.
func (s *shop) answer(w http.ResponseWriter, r *http.Request, region string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	var answer any
	_, name, _ := strings.Cut(r.URL.Path, "/applications/hello-")
	switch {
	case name != "":
		head := s.git("rev-parse", "main")
		answer = map[string]any{"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": map[string]any{"name": "hello-" + name}, "status": map[string]any{
			"sync": map[string]any{"status": "Synced", "revision": head}, "health": map[string]any{"status": "Healthy"},
			"operationState": map[string]any{"phase": "Succeeded", "syncResult": map[string]any{"revision": head}},
		}}
	case strings.HasSuffix(r.URL.Path, "/rollouts/hello"):
		answer = s.rollout(region)
	case strings.HasSuffix(r.URL.Path, "/replicasets"):
		items := []any{}
		for _, image := range s.references {
			items = append(items, map[string]any{
				"metadata": map[string]any{"labels": map[string]any{"rollouts-pod-template-hash": hashOf(image)}, "ownerReferences": []any{map[string]any{"uid": "u1"}}},
				"spec":     map[string]any{"replicas": 1, "template": podTemplate(image)}, "status": map[string]any{"readyReplicas": 1},
			})
		}
		answer = map[string]any{"apiVersion": "apps/v1", "kind": "ReplicaSetList", "items": items}
	default:
		answer = map[string]any{"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRunList", "items": []any{}}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func hashOf(image string) string { return deliver.ShortImage(image) }

func podTemplate(image string) map[string]any {
	return map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "hello", "image": image}}}}
}

func (s *shop) rollout(region string) any {
	_, image, _ := strings.Cut(s.git("show", "main:"+helloFile(region, "").Path), "image: ")
	if s.away {
		image = s.runs[region]
	}
	if s.asked != nil {
		s.asked(region, s.bad[image])
	}
	status := map[string]any{"observedGeneration": "1", "currentPodHash": hashOf(image), "stableRS": hashOf(s.runs[region]), "currentStepIndex": 0}
	switch s.looks[region+image]++; {
	case s.runs[region] == image:
		status["phase"] = "Healthy"
	case s.bad[image]:
		status["phase"], status["abort"], status["message"] = "Degraded", true, `RolloutAborted: metric "success" assessed Failed`
	case s.stuck || s.looks[region+image] < 2:
		status["phase"] = "Progressing"
		status["canary"] = map[string]any{"weights": map[string]any{"canary": map[string]any{"weight": 20}}}
	default:
		s.runs[region] = image
		status["phase"], status["stableRS"] = "Healthy", hashOf(image)
	}
	return map[string]any{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": map[string]any{"name": "hello", "uid": "u1", "generation": 1},
		"spec": map[string]any{"template": podTemplate(image), "strategy": map[string]any{"canary": map[string]any{"steps": []any{map[string]any{}, map[string]any{}}}}}, "status": status}
}

// nines runs a command with this shop, as main would.
func (s *shop) nines(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	var out, said bytes.Buffer
	cmd := newDeployCommand(s.find)
	if args[0] == "rollback" {
		cmd = newRollbackCommand(s.find)
	}
	cmd.SetArgs(append([]string{"-f", filepath.Join(s.dir, "nines.yaml")}, args[1:]...))
	cmd.SetOut(&out)
	cmd.SetErr(&said)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err := cmd.ExecuteContext(ctx)
	switch {
	case err == nil:
	case errors.Is(err, errNo):
		code = exitNo
	default:
		code = exitTrouble
		fmt.Fprintf(&said, "nines: %v\n", err)
	}
	return code, out.String(), said.String()
}

// holds checks what Git has for the two regions, by tag, and how many commits.
func (s *shop) holds(west, north string, commits int) {
	s.t.Helper()
	for region, tag := range map[string]string{"west": west, "north": north} {
		if got := s.git("show", "main:"+helloFile(region, "").Path); !strings.HasSuffix(got, s.references[tag]) {
			s.t.Errorf("Git has for %s:\n%s\nwant %s", region, got, tag)
		}
	}
	if got := s.git("rev-list", "--count", "main"); got != fmt.Sprint(commits) {
		s.t.Errorf("%s commits, want %d", got, commits)
	}
	if got := s.git("show", "main:environments/other/west/hello.yaml"); !strings.HasSuffix(got, "image: other") {
		s.t.Errorf("another environment has %q", got)
	}
}

func has(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, w := range wanted {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in:\n%s", w, text)
		}
	}
}

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

// publish commits a version to the region north, as somebody else.
func (s *shop) publish(tag string, d deliver.Deployment) {
	r, err := deliver.Clone(s.t.Context(), s.access(), deliver.Author{Name: "Bob", Email: "bob@example.org"})
	if err != nil {
		s.t.Error(err)
		return
	}
	defer r.Close()
	_, err = r.Publish(s.t.Context(), func(ctx context.Context) (deliver.Commit, error) {
		files, err := r.Files()
		if err != nil {
			return deliver.Commit{}, err
		}
		for i := range files {
			if files[i].Path == helloFile("north", "").Path {
				files[i] = helloFile("north", s.references[tag])
			}
		}
		if _, err := r.Replace(files); err != nil {
			return deliver.Commit{}, err
		}
		message := "by hand"
		if d.Service != "" {
			message = d.Message("")
		}
		return r.Commit(ctx, message)
	})
	if err != nil {
		s.t.Error(err)
	}
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
