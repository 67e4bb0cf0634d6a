package deliver

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	gitWithin = time.Minute     // for one command
	askWithin = 5 * time.Second // for the last question, also after Ctrl-C
	lastWords = 20              // lines of what git said that an error keeps
)

// git runs one command in the repository. What it may do depends on nothing of
// this user or machine: no configuration, no hooks, no prompts, no proxies, no
// redirects to where the credentials do not belong.
func (r *Repository) git(ctx context.Context, input string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, gitWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Env, cmd.Stdin = r.dir, r.env, strings.NewReader(input)
	// Ctrl-C of a terminal reaches a whole process group: git gets a group of its
	// own, so that only the context ends it, and its helpers with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", errors.New("git is not installed; on Debian: apt-get install git")
	case ctx.Err() != nil:
		return "", fmt.Errorf("git %s: %w", args[0], context.Cause(ctx))
	case err != nil:
		return out.String(), fmt.Errorf("git %s: %w\n%s", args[0], err, tail(said.String()))
	}
	return out.String(), nil
}

func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-lastWords):], "\n")
}

// settings of git that come through its environment, where no other user can
// read them: arguments are open to everybody on the machine.
func (a Access) settings() [][2]string {
	settings := [][2]string{
		{"core.hooksPath", os.DevNull},
		{"core.autocrlf", "false"},
		{"gc.auto", "0"},
		{"commit.gpgSign", "false"},
		{"advice.detachedHead", "false"},
		{"http.followRedirects", "false"},
		{"http.lowSpeedLimit", "100"}, // bytes a second, for so many seconds, and git gives up
		{"http.lowSpeedTime", "20"},
	}
	if a.CAFile != "" {
		settings = append(settings, [2]string{"http.sslCAInfo", a.CAFile})
	}
	if a.Username != "" {
		credentials := base64.StdEncoding.EncodeToString([]byte(a.Username + ":" + a.Password))
		settings = append(settings, [2]string{"http." + a.URL + ".extraHeader", "Authorization: Basic " + credentials})
	}
	return settings
}

func (a Access) environment(author Author) []string {
	settings := a.settings()
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C", "GIT_TERMINAL_PROMPT=0",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_ALLOW_PROTOCOL=https:http:file",
		"GIT_AUTHOR_NAME=" + author.Name, "GIT_AUTHOR_EMAIL=" + author.Email,
		"GIT_COMMITTER_NAME=" + author.Name, "GIT_COMMITTER_EMAIL=" + author.Email,
		"GIT_CONFIG_COUNT=" + strconv.Itoa(len(settings)),
	}
	for i, s := range settings {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, s[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, s[1]))
	}
	return env
}
