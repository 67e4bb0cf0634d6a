package deliver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Commit is one of the history.
type Commit struct {
	Hash     string
	Author   string
	Time     time.Time
	Subject  string
	Trailers map[string]string // the last lines of its message, such as Nines-Service
	Files    []string          // that Commit or Undo changed; of others not known
}

// Commit makes a commit of the whole tree. Where nothing has changed it makes
// none, and Hash is "".
func (r *Repository) Commit(ctx context.Context, message string) (Commit, error) {
	if _, err := r.git(ctx, "", "add", "--all", "--force", "."); err != nil {
		return Commit{}, err
	}
	out, err := r.git(ctx, "", "diff", "--cached", "--name-only", "--no-renames", "-z")
	if err != nil || out == "" {
		return Commit{}, err
	}
	files := strings.Split(strings.TrimSuffix(out, "\x00"), "\x00")
	if _, err := r.git(ctx, message, "commit", "--quiet", "--cleanup=whitespace", "--file=-"); err != nil {
		return Commit{}, err
	}
	newest, err := r.list(ctx, 1)
	if err != nil {
		return Commit{}, err
	}
	newest[0].Files = files
	return newest[0], nil
}

// mostCommits is how far back a history is read.
const mostCommits = 1000

// Log is the history, the newest commit first.
func (r *Repository) Log(ctx context.Context) ([]Commit, error) {
	if head, err := r.Head(ctx); err != nil || head == "" {
		return nil, err
	}
	if err := r.deepen(ctx); err != nil {
		return nil, err
	}
	return r.list(ctx, mostCommits)
}

func (r *Repository) list(ctx context.Context, most int) ([]Commit, error) {
	out, err := r.git(ctx, "", "log", "-z", fmt.Sprintf("--max-count=%d", most), "--format=%H%x1f%an%x1f%aI%x1f%s%x1f%(trailers:only,unfold)")
	if err != nil {
		return nil, err
	}
	var commits []Commit
	for one := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		fields := strings.SplitN(one, "\x1f", 5)
		if len(fields) != 5 {
			return nil, fmt.Errorf("git log: cannot read %q", one)
		}
		c := Commit{Hash: fields[0], Author: fields[1], Subject: fields[3], Trailers: map[string]string{}}
		if c.Time, err = time.Parse(time.RFC3339, fields[2]); err != nil {
			return nil, fmt.Errorf("git log: %w", err)
		}
		for line := range strings.Lines(fields[4]) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
				c.Trailers[key] = value
			}
		}
		commits = append(commits, c)
	}
	return commits, nil
}

// A ConflictError says that a commit cannot be undone, since what it changed was
// changed again.
type ConflictError struct {
	Commit string
	Files  []string
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s cannot be undone by itself: %s changed again since; deploy the version that is wanted instead (nines deploy), or settle it by hand (git revert %s)",
		Short(e.Commit), strings.Join(e.Files, ", "), Short(e.Commit))
}

// Revert undoes these commits, the newest first, and makes one commit of that, as
// "git revert" does. Where that changes nothing it makes none. What cannot be
// undone by itself is a ConflictError, and the tree is as it was.
func (r *Repository) Revert(ctx context.Context, message string, commits ...string) (Commit, error) {
	if err := r.deepen(ctx); err != nil {
		return Commit{}, err
	}
	for _, hash := range commits {
		_, err := r.git(ctx, "", "revert", "--no-commit", hash)
		if err == nil {
			continue
		}
		out, failed := r.git(ctx, "", "diff", "--name-only", "--diff-filter=U", "-z")
		if files := strings.FieldsFunc(out, func(c rune) bool { return c == 0 }); failed == nil && len(files) > 0 {
			slices.Sort(files)
			err = &ConflictError{Commit: hash, Files: files}
		}
		if failed := r.reset(ctx, "HEAD"); failed != nil {
			return Commit{}, failed
		}
		return Commit{}, err
	}
	return r.Commit(ctx, message)
}

// Short is a commit as people say it.
func Short(hash string) string { return hash[:min(len(hash), 9)] }
