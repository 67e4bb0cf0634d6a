//go:build ground

package ground

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nines-ha/nines/internal/cgroup"
)

// TestGit proves that a repository is cloned from this machine and from a pod, that
// it stays when the ground goes, and that the host can be taken away and given back.
func TestGit(t *testing.T) {
	openBefore := listeners(t)
	config := withEngines(t, Config{Name: "forge", Regions: []Region{{Name: "westeurope", Zones: 1, Nodes: 1}}, Delivery: true})
	config.Deliver = func(context.Context, GitAccess) (Delivered, error) { return Delivered{}, nil } // the repository stays empty
	client := bring(t, config)
	g := newGitClient(t, client)
	dir := filepath.Join(t.TempDir(), "platform")
	g.must("/", "clone", "--config", "include.path="+g.access.Config, g.access.Remote, dir)
	g.commit(dir, "first")
	g.must(dir, "push", "origin", "main")
	expectNoneNew(t, "a listener for others", openBefore, listeners(t))

	c := newCluster(t, client, "westeurope")
	files, err := workloads(config.Cache, false, "westeurope")(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	apply := c.kubectl(t.Context(), "apply", "-f", "-")
	apply.Stdin = bytes.NewReader(files["westeurope"][0].Body)
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("kubectl apply: %v: %s", err, out)
	}
	var pod corev1.Pod
	eventually(t, time.Minute, "a pod runs", func() error {
		for _, pod = range c.pods("web") {
			if podReady(pod) == nil {
				return nil
			}
		}
		return errors.New("none is ready")
	})
	status, err := client.World(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(c.run("exec", pod.Name, "--", "/server", "resolve", g.access.Host)); got != status.Git.Address {
		t.Errorf("in a pod %s is %q, want %s", g.access.Host, got, status.Git.Address)
	}
	inside := c.inside(pod)
	defer inside.Close()
	fromPod := filepath.Join(t.TempDir(), "pod")
	err = inside.Do(func() error {
		out, err := g.with(t.Context(), "/", []string{
			"-c", "http.curloptResolve=" + g.access.Host + ":443:" + status.Git.Address, "-c", "http.sslCAInfo=" + g.access.CAFile,
		}, "clone", g.access.Remote, fromPod).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		t.Errorf("clone from a pod: %v", err)
	}
	if got, want := g.head(fromPod), g.head(dir); got != want {
		t.Errorf("a pod clones %s, want %s", got, want)
	}

	unprivileged(t, client, status.Git.Part)
	for _, test := range []struct {
		what       string
		take, give func() error
		want       string
	}{
		{
			"suspended",
			func() error { return client.Suspend(t.Context(), status.Git.Part, true) },
			func() error { return client.Suspend(t.Context(), status.Git.Part, false) },
			"it does not end",
		},
		{
			"halted",
			func() error { return client.Halt(t.Context(), status.Git.Part, true) },
			func() error { return client.Halt(t.Context(), status.Git.Part, false) },
			"unable to access",
		},
	} {
		if err := test.take(); err != nil {
			t.Fatal(err)
		}
		if err := g.reads(dir); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.what, err, test.want)
		}
		now, err := client.World(t.Context())
		if err != nil || now.Git.Suspended != (test.what == "suspended") {
			t.Errorf("%s: told as %+v, %v", test.what, now.Git, err)
		}
		if err := test.give(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, "it is read after it was "+test.what, func() error { return g.reads(dir) })
	}
	if err := client.Kill(t.Context(), status.Git.Part); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "it is read after it was killed", func() error { return g.reads(dir) })

	was, head := g.access, g.head(dir)
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	if err := client.Suspend(ctx, status.Git.Part, true); err != nil { // what is frozen holds no end up
		t.Fatal(err)
	}
	if err := client.Down(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Git(); !errors.Is(err, ErrNoGit) {
		t.Errorf("after the end: %v", err)
	}
	again := bringIn(t, os.Getenv("XDG_STATE_HOME"), config)
	g = newGitClient(t, again)
	if g.access.Password == was.Password {
		t.Error("the password is the same as before")
	}
	g.commit(dir, "second")
	g.must(dir, "push", "origin", "main") // of the clone made before
	other := filepath.Join(t.TempDir(), "other")
	g.must("/", "clone", "--config", "include.path="+g.access.Config, g.access.Remote, other)
	if log := g.must(other, "log", "--format=%H"); !strings.Contains(log, head) || g.head(other) != g.head(dir) {
		t.Errorf("after down and up the repository has\n%s", log)
	}
}

// unprivileged looks at the program as the kernel sees it.
func unprivileged(t *testing.T, client *Client, part string) {
	t.Helper()
	found := false
	group, err := cgroup.Open(group(client.Name))
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range group.Child("managed").Child("git").Processes() {
		body, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		found = true
		for _, line := range []string{"Uid:\t33\t33\t33\t33", "Gid:\t33\t33\t33\t33", "NoNewPrivs:\t1", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000"} {
			if !strings.Contains(string(body), line+"\n") {
				t.Errorf("process %d of %s has not %q:\n%s", pid, part, line, body)
			}
		}
		here, _ := os.Readlink("/proc/self/ns/net")
		if there, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); err != nil || there == here {
			t.Errorf("its network is %s, the host's %s, %v", there, here, err)
		}
		if root, err := os.Readlink(fmt.Sprintf("/proc/%d/root", pid)); err != nil || root == "/" {
			t.Errorf("its root is %s, %v", root, err)
		}
	}
	if !found {
		t.Errorf("no process of %s runs", part)
	}
}

// gitClient is git on this machine.
type gitClient struct {
	t      *testing.T
	access GitAccess
	home   string
}

func newGitClient(t *testing.T, client *Client) *gitClient {
	t.Helper()
	access, err := client.Git()
	if err != nil {
		t.Fatal(err)
	}
	return &gitClient{t, access, t.TempDir()}
}

// command takes the password from its environment: the program that a ground's
// configuration of git names is this test, which is no nines.
func (g *gitClient) command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	return g.with(ctx, dir, []string{"-c", "include.path=" + g.access.Config, "-c", "credential.helper="}, args...)
}

func (g *gitClient) with(ctx context.Context, dir string, options []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", slices.Concat(options, []string{
		"-c", `credential.helper=!f() { echo username="$TEST_USER"; echo password="$TEST_PASSWORD"; }; f`,
		"-c", "user.name=test", "-c", "user.email=test@example.org",
	}, args)...)
	cmd.Dir, cmd.WaitDelay = dir, time.Second
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + g.home, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C",
		"TEST_USER=" + g.access.Username, "TEST_PASSWORD=" + g.access.Password,
	}
	return cmd
}

func (g *gitClient) must(dir string, args ...string) string {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), time.Minute)
	defer cancel()
	out, err := g.command(ctx, dir, args...).CombinedOutput()
	if err != nil {
		g.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// reads asks the host for its branches, for three seconds.
func (g *gitClient) reads(dir string) error {
	ctx, cancel := context.WithTimeout(g.t.Context(), 3*time.Second)
	defer cancel()
	out, err := g.command(ctx, dir, "ls-remote", "--exit-code", "origin", "main").CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return errors.New("it does not end")
	case err != nil:
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func (g *gitClient) commit(dir, name string) {
	g.t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(name+"\n"), 0o600); err != nil {
		g.t.Fatal(err)
	}
	g.must(dir, "add", ".")
	g.must(dir, "commit", "--message", "add "+name)
}

func (g *gitClient) head(dir string) string {
	g.t.Helper()
	return strings.TrimSpace(g.must(dir, "rev-parse", "HEAD"))
}
