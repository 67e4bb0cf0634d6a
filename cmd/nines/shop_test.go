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
