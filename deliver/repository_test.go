package deliver

import (
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/nines-ha/nines/render"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var me = Author{Name: "Ada", Email: "ada@example.org"}

const password = "correct-horse"

// A host is git's own http-backend behind TLS and a password.
type host struct {
	Access
	dir     string
	backend http.Handler
	// before is asked about each request, and may answer it.
	before atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{dir: t.TempDir()}
	run(t, h.dir, "git", "init", "--quiet", "--bare", "--initial-branch=main", "platform.git")
	run(t, filepath.Join(h.dir, "platform.git"), "git", "config", "http.receivepack", "true")
	h.backend = &cgi.Handler{
		Path: strings.TrimSpace(run(t, h.dir, "git", "--exec-path")) + "/git-http-backend", Dir: h.dir,
		Env: []string{"GIT_PROJECT_ROOT=" + h.dir, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=ada"},
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, word, ok := r.BasicAuth(); !ok || user != "ada" || word != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		if before := h.before.Load(); before != nil && (*before)(w, r) {
			return
		}
		h.backend.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	authority := filepath.Join(h.dir, "ca.pem")
	body := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(authority, body, 0o600); err != nil {
		t.Fatal(err)
	}
	h.Access = Access{URL: server.URL + "/platform.git", CAFile: authority, Username: "ada", Password: password}
	return h
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// git asks the host's repository.
func (h *host) git(t *testing.T, args ...string) string {
	t.Helper()
	return run(t, filepath.Join(h.dir, "platform.git"), "git", args...)
}

func (h *host) clone(t *testing.T) *Repository {
	t.Helper()
	r, err := Clone(t.Context(), h.Access, me)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(r.Dir()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the clone is left: %v", err)
		}
	})
	return r
}

func file(name, body string) render.File {
	return render.File{Path: name, Body: []byte(render.Header + body)}
}

// put publishes files as a commit.
func put(t *testing.T, r *Repository, message string, files ...render.File) Commit {
	t.Helper()
	c, err := r.Publish(t.Context(), func(ctx context.Context) (Commit, error) {
		if _, err := r.Replace(files); err != nil {
			return Commit{}, err
		}
		return r.Commit(ctx, message)
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPublish(t *testing.T) {
	h := newHost(t)
	r := h.clone(t)
	if head, err := r.Head(t.Context()); head != "" || err != nil {
		t.Fatalf("an empty repository has the commit %q, %v", head, err)
	}
	first := put(t, r, "first", file("apps/a.yaml", "a: 1\n"), file("apps/b.yaml", "b: 1\n"))
	if got := strings.TrimSpace(h.git(t, "rev-parse", "main")); got != first.Hash {
		t.Errorf("the host has %s, want %s", got, first.Hash)
	}
	if diff := cmp.Diff([]string{"apps/a.yaml", "apps/b.yaml"}, first.Files); diff != "" {
		t.Error(diff)
	}
	if c := put(t, r, "again", file("apps/a.yaml", "a: 1\n"), file("apps/b.yaml", "b: 1\n")); c.Hash != "" {
		t.Errorf("a commit of nothing: %+v", c)
	}

	other := h.clone(t)
	second := put(t, other, "second\n\nwhy\n\nNines-Service: vehicle\nNines-Image: a:1\n", file("apps/a.yaml", "a: 2\n"))
	if diff := cmp.Diff([]string{"apps/a.yaml", "apps/b.yaml"}, second.Files); diff != "" {
		t.Error(diff)
	}
	log, err := other.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var subjects []string
	for _, c := range log {
		subjects = append(subjects, c.Author+": "+c.Subject)
	}
	if diff := cmp.Diff([]string{"Ada: second", "Ada: first"}, subjects); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"Nines-Service": "vehicle", "Nines-Image": "a:1"}, log[0].Trailers); diff != "" {
		t.Error(diff)
	}
}

// Two people push at once: both changes are in the end.
func TestPublishIsFasterThanNobody(t *testing.T) {
	h := newHost(t)
	one, two := h.clone(t), h.clone(t)
	put(t, one, "first", file("a.yaml", "a: 1\n"))

	two2 := h.clone(t)
	put(t, one, "theirs", file("a.yaml", "a: 1\n"), file("theirs.yaml", "b: 1\n"))
	tries := 0
	_, err := two2.Publish(t.Context(), func(ctx context.Context) (Commit, error) {
		tries++
		body, err := os.ReadFile(filepath.Join(two2.Dir(), "a.yaml"))
		if err != nil {
			return Commit{}, err
		}
		if err := os.WriteFile(filepath.Join(two2.Dir(), "mine.yaml"), body, 0o600); err != nil {
			return Commit{}, err
		}
		return two2.Commit(ctx, "mine")
	})
	if err != nil || tries != 2 {
		t.Fatalf("after %d tries: %v", tries, err)
	}
	if got := h.git(t, "ls-tree", "--name-only", "main"); got != "a.yaml\nmine.yaml\ntheirs.yaml\n" {
		t.Errorf("the tree is %q", got)
	}

	// Somebody who is always faster is not tried to beat for ever.
	n := 0
	_, err = two.Publish(t.Context(), func(ctx context.Context) (Commit, error) {
		n++
		put(t, one, "faster", file("a.yaml", strings.Repeat("#", n)+"\n"))
		if err := os.WriteFile(filepath.Join(two.Dir(), "slow"), []byte("slow"), 0o600); err != nil {
			return Commit{}, err
		}
		return two.Commit(ctx, "slow")
	})
	if err == nil || n != mostPushes || !strings.Contains(err.Error(), "nothing was pushed") {
		t.Errorf("after %d tries: %v", n, err)
	}
}

// The connection breaks after the host took the push: it counts.
func TestPublishKnowsWhatArrived(t *testing.T) {
	h := newHost(t)
	r := h.clone(t)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	broken := func(_ http.ResponseWriter, req *http.Request) bool {
		if !strings.HasSuffix(req.URL.Path, "/git-receive-pack") || req.Method != http.MethodPost {
			return false
		}
		h.before.Store(nil)
		h.backend.ServeHTTP(httptest.NewRecorder(), req)
		interrupt() // Ctrl-C, before the answer
		panic(http.ErrAbortHandler)
	}
	h.before.Store(&broken)
	c, err := r.Publish(ctx, func(ctx context.Context) (Commit, error) {
		if _, err := r.Replace([]render.File{file("a.yaml", "a: 1\n")}); err != nil {
			return Commit{}, err
		}
		return r.Commit(ctx, "first")
	})
	if err != nil || c.Hash != strings.TrimSpace(h.git(t, "rev-parse", "main")) {
		t.Errorf("commit %q, %v", c.Hash, err)
	}
	if _, err := r.Head(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("after Ctrl-C: %v", err)
	}
}

func TestPublishRefusedByTheHost(t *testing.T) {
	h := newHost(t)
	hook := filepath.Join(h.dir, "platform.git", "hooks", "pre-receive")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\necho no deploys on a Friday >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := h.clone(t)
	_, err := r.Publish(t.Context(), func(ctx context.Context) (Commit, error) {
		if _, err := r.Replace([]render.File{file("a.yaml", "a: 1\n")}); err != nil {
			return Commit{}, err
		}
		return r.Commit(ctx, "first")
	})
	if err == nil || !strings.Contains(err.Error(), "refuses the push") || !strings.Contains(err.Error(), "no deploys on a Friday") {
		t.Errorf("error %v", err)
	}
}

func TestCloneRefuses(t *testing.T) {
	h := newHost(t)
	wrong, strange := h.Access, h.Access
	wrong.Password = "guess-again"
	strange.CAFile = ""
	inside := h.Access
	inside.URL = strings.Replace(inside.URL, "https://", "https://ada:"+password+"@", 1)
	for name, c := range map[string]struct {
		Access
		want string
	}{
		"a wrong password":         {wrong, "git ls-remote"},
		"an unknown certificate":   {strange, "certificate"},
		"credentials in the URL":   {inside, "without credentials"},
		"another way than these":   {Access{URL: "ext::sh -c date"}, "git"},
		"a repository not at hand": {Access{URL: "file:///nowhere/at/all.git"}, "nowhere/at/all"},
	} {
		t.Run(name, func(t *testing.T) {
			temporary := t.TempDir()
			t.Setenv("TMPDIR", temporary)
			_, err := Clone(t.Context(), c.Access, me)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			if strings.Contains(err.Error(), password) || strings.Contains(err.Error(), wrong.Password) {
				t.Errorf("the error tells the password: %v", err)
			}
			if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
				t.Errorf("%v is left, %v", left, err)
			}
		})
	}
}

// Whoever answers for the host leads nobody, and no password, elsewhere.
func TestCloneIsNotLedAway(t *testing.T) {
	h := newHost(t)
	var asked atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer elsewhere.Close()
	away := func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, elsewhere.URL+r.URL.RequestURI(), http.StatusFound)
		return true
	}
	h.before.Store(&away)
	if r, err := Clone(t.Context(), h.Access, me); err == nil || asked.Load() > 0 {
		t.Errorf("elsewhere was asked %d times, %v, %v", asked.Load(), r, err)
	}
}

// No argument of git, and no file of the clone, has the password.
func TestPasswordIsKept(t *testing.T) {
	h := newHost(t)
	r := h.clone(t)
	put(t, r, "first", file("a.yaml", "a: 1\n"))
	err := filepath.WalkDir(r.Dir(), func(name string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		body, err := os.ReadFile(name)
		if strings.Contains(string(body), password) || strings.Contains(string(body), "Authorization") {
			t.Errorf("%s has it", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	i := slices.IndexFunc(r.env, func(s string) bool { return strings.Contains(s, "Authorization") })
	if i < 0 || !strings.HasPrefix(r.env[i], "GIT_CONFIG_VALUE_") {
		t.Errorf("where is it? %q", r.env)
	}
}

func TestReplaceKeepsOut(t *testing.T) {
	h := newHost(t)
	r := h.clone(t)
	for _, name := range []string{".git/hooks/x.yaml", ".GIT/config", "../x.yaml", "a/../.git/x"} {
		if _, err := r.Replace([]render.File{file(name, "x")}); err == nil {
			t.Errorf("%s was written", name)
		}
	}
}
