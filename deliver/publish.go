package deliver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// mostPushes is how often Publish begins anew because somebody else was faster.
const mostPushes = 5

// ErrUnsure says that nobody could be asked whether a push arrived.
var ErrUnsure = errors.New("whether the Git host has it could not be asked: look before you try again")

// errBehind says that the host has commits that the clone has not.
var errBehind = errors.New("somebody else was faster")

// Publish has change make a commit on the newest tree, and pushes it. If somebody
// else pushed meanwhile it takes theirs and has change begin anew, so that neither
// is lost. A change that makes no commit (Hash is "") pushes nothing. After an
// error the host does not have the commit, or the error is ErrUnsure.
func (r *Repository) Publish(ctx context.Context, change func(context.Context) (Commit, error)) (Commit, error) {
	for try := range mostPushes {
		if try > 0 {
			if err := pause(ctx, time.Duration(try)*100*time.Millisecond+rand.N(100*time.Millisecond)); err != nil {
				return Commit{}, err
			}
			if err := r.renew(ctx); err != nil {
				return Commit{}, fmt.Errorf("take what others pushed: %w", err)
			}
		}
		commit, err := change(ctx)
		if err != nil || commit.Hash == "" {
			return Commit{}, err
		}
		err = r.push(ctx, commit.Hash)
		if err == nil {
			return commit, nil
		}
		if !errors.Is(err, errBehind) {
			return Commit{}, err
		}
	}
	return Commit{}, fmt.Errorf("push: others were faster %d times; nothing was pushed, try again", mostPushes)
}

func (r *Repository) push(ctx context.Context, hash string) error {
	out, err := r.git(ctx, "", "push", "--porcelain", "origin", hash+":refs/heads/"+r.branch)
	if err == nil {
		return nil
	}
	switch {
	case strings.Contains(out, "[rejected]"):
		return errBehind
	// Two pushes at once: the host had locked the branch, or it moved in between.
	case strings.Contains(out, "[remote rejected]") && (strings.Contains(out, "lock") || strings.Contains(out, "failed to update ref") || strings.Contains(out, "incorrect old value")):
		return errBehind
	case strings.Contains(out, "[remote rejected]"):
		return fmt.Errorf("the Git host refuses the push: %w", err)
	}
	// The connection may have broken, or Ctrl-C come, after the host had it.
	ask, cancel := context.WithTimeout(context.WithoutCancel(ctx), askWithin)
	defer cancel()
	switch tip, failed := r.tip(ask); {
	case failed != nil:
		return fmt.Errorf("push commit %s: %w; %w", Short(hash), ErrUnsure, err)
	case tip == hash:
		return nil
	}
	return fmt.Errorf("push, which the Git host does not have: %w", err)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
