package ground

import (
	"context"
	"errors"
	"fmt"

	"github.com/nines-ha/nines/ground/git"
	"github.com/nines-ha/nines/ground/part"
	"github.com/nines-ha/nines/ground/world"
)

// firstGitPort is where the owner looks for a free port for the Git host.
const firstGitPort = 7443

// GitAccess is how programs of this machine clone from the ground's Git host and
// push to it.
type GitAccess = git.Outside

// GitStatus is the Git host as it is now.
type GitStatus = world.GitStatus

// ErrNoGit says that a ground has no Git host, or not yet.
var ErrNoGit = git.ErrNoFiles

// Git tells how to reach the Git host of a running ground, from its start on to
// its end: passwords and port are new each time.
func (c *Client) Git() (GitAccess, error) {
	h, err := homeOf(c.Name)
	if err != nil {
		return GitAccess{}, err
	}
	return git.ReadOutside(h.world("").Git())
}

// ReadGitAccess reads it from the directory of a ground where it is written.
func ReadGitAccess(dir string) (GitAccess, error) { return git.ReadOutside(dir) }

// Git waits until the Git host answers, and tells how to reach it.
func (o *Owner) Git(ctx context.Context) (GitAccess, error) {
	if !o.config.Delivery {
		return GitAccess{}, fmt.Errorf("%s: %w", o.config.Name, ErrNoGit)
	}
	select {
	case <-o.gitUp:
		return git.ReadOutside(o.home.world("").Git())
	case <-o.gone:
		return GitAccess{}, errors.New("the world ended before its Git host answered")
	case <-ctx.Done():
		return GitAccess{}, fmt.Errorf("wait for the Git host: %w", context.Cause(ctx))
	}
}

// followGit takes note when the Git host is ready.
func (o *Owner) followGit(e part.Event) {
	if o.config.Delivery && e.Part == o.config.gitPart() && e.State == part.Ready {
		o.gitOnce.Do(func() { close(o.gitUp) })
	}
}

func (c Config) gitPart() string { return c.spec(home{}, nil).GitPart() }
