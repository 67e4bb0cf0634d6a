package git

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/nines-ha/nines/internal/pki"
)

// A clone goes on working when the host has come back with another port, authority
// and password, with nothing told to git but what the clone holds.
func TestCloneOutlivesTheHost(t *testing.T) {
	run, home := t.TempDir(), t.TempDir()
	program := filepath.Join(home, "nines")
	if err := os.WriteFile(program, []byte(`#!/bin/sh
[ "$1 $2 $3 $4 $5" = "git credential --from `+run+` get" ] && echo username=nines && echo password=`+writes+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	other, err := pki.New("another")
	if err != nil {
		t.Fatal(err)
	}
	others := filepath.Join(t.TempDir(), "others.crt")
	if err := os.WriteFile(others, other.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	git := func(dir string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = dir
		cmd.Env = []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + home, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C",
			"https_proxy=http://127.0.0.1:1", "GIT_SSL_CAINFO=" + others, // of the user's, for other hosts
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("/", "config", "--global", "user.name", "test")
	git("/", "config", "--global", "user.email", "test@example.org")
	git("/", "config", "--global", "credential.helper", "store") // would keep the password in a file

	publish := func(h *host) Outside {
		t.Helper()
		pem, err := os.ReadFile(h.ca)
		if err != nil {
			t.Fatal(err)
		}
		port, err := strconv.Atoi(h.url[strings.LastIndex(h.url, ":")+1:])
		if err != nil {
			t.Fatal(err)
		}
		managed := &Host{config: Config{Host: "git.lab.example", Dir: run}, ca: &pki.Authority{PEM: pem}, passwords: map[string]string{Writer: writes}}
		if err := managed.Publish(port, program); err != nil {
			t.Fatal(err)
		}
		o, err := ReadOutside(run)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	first := newHost(t, nil)
	o := publish(first)
	dir := filepath.Join(t.TempDir(), "platform")
	git("/", "-c", "include.path="+o.Config, "clone", "--quiet", "--config", "include.path="+o.Config, o.Remote, dir)
	if url := git(dir, "config", "remote.origin.url"); url != o.Remote {
		t.Errorf("the clone is of %s, want %s", url, o.Remote)
	}
	git(dir, "commit", "--quiet", "--allow-empty", "--message", "first")
	git(dir, "push", "--quiet", "origin", "main")

	second := newHost(t, func(s *server) { s.root = first.project })
	publish(second)
	git(dir, "commit", "--quiet", "--allow-empty", "--message", "second")
	git(dir, "push", "--quiet")
	git(dir, "pull", "--quiet")
	if want := git(dir, "rev-parse", "HEAD"); first.head() != want || !strings.Contains(second.log.String(), "service=git-receive-pack status=200") {
		t.Errorf("the repository is at %s, want %s; the log of the second host:\n%s", first.head(), want, second.log)
	}
	if entries, err := os.ReadDir(home); err != nil || len(entries) != 2 { // the program, and git's own configuration
		t.Errorf("git has left something at home: %v, %v", entries, err)
	}
}
