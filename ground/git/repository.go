package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Repository is the name of the one repository, Path where it is below the host.
const (
	Repository = "platform.git"
	Path       = "/" + Repository
)

// Branch is the one that a new repository has, still without a commit.
const Branch = "main"

// gitConfig is for every program of the host. History is only added to. What is
// pushed is checked, and stays within the bounds of one request; packing happens
// before the answer to the push that made it due, within these bounds too.
const gitConfig = `[receive]
	denyNonFastForwards = true
	denyDeletes = true
	fsckObjects = true
	maxInputSize = 64m
[http]
	getanyfile = false
[gc]
	auto = 1000
	autoPackLimit = 20
	autoDetach = false
[pack]
	threads = 1
	windowMemory = 32m
	deltaCacheSize = 32m
[core]
	packedGitLimit = 64m
	bigFileThreshold = 8m
	hooksPath = /nonexistent
`

// makeRepository makes the repository the first time, all or nothing. To one that
// is there it does what a git that a power cut ended could not.
func (h *Host) makeRepository(ctx context.Context) error {
	if err := os.Chown(h.config.Data, uid, gid); err != nil {
		return err
	}
	final := filepath.Join(h.config.Data, Repository)
	if _, err := os.Stat(final); err == nil {
		return unlock(final)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.RemoveAll(filepath.Join(h.config.Data, "new")); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "/usr/bin/git", "init", "--quiet", "--bare", "--template=", "--initial-branch="+Branch, dataDir+"/new")
	cmd.Env, cmd.Dir = h.program.Env, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: h.path("/"), Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make the repository: %w\n%s", err, out)
	}
	return os.Rename(filepath.Join(h.config.Data, "new"), final)
}

// unlock takes away the locks of programs that are no more, which would have every
// push refused, and what they had not taken in yet. No other can be running on the
// repository: the ground's own lock sees to that.
func unlock(repository string) error {
	return filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), "tmp_objdir-"):
			if err := os.RemoveAll(path); err != nil {
				return err
			}
			return fs.SkipDir
		case !d.IsDir() && (strings.HasSuffix(d.Name(), ".lock") || d.Name() == "gc.pid"): // no reference may be called so
			return os.Remove(path)
		}
		return nil
	})
}
