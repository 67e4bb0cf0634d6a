// Package deliver is the way from a person to what runs: into Git, and from
// there by Argo CD and Argo Rollouts. Clone takes a repository, Publish changes
// and pushes it, Undo takes a deployment back; Follow tells how what was pushed
// comes to the clusters, and ends with a verdict. It renders nothing, and it
// changes nothing but Git: what is in the clusters is Argo's to change, which Refresh
// only asks to look now.
//
// It uses the program git. Everything has a time limit and ends with its context.
package deliver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"strings"

	"github.com/nines-ha/nines/render"
)

// Access is where a repository is and how one gets in.
type Access struct {
	URL                string // https, http or file; without credentials
	CAFile             string // certificate that the host's leads to; "": the machine's own
	Username, Password string
}

// An Author makes commits.
type Author struct{ Name, Email string }

// A Repository is a clone in a temporary folder. Its methods are for one
// goroutine at a time.
type Repository struct {
	dir, branch string
	env         []string
}

const branch = "main"

// Clone takes the newest tree of the branch main, without its history. A
// repository that has no commit yet is an empty tree. Close removes the clone.
func Clone(ctx context.Context, access Access, author Author) (*Repository, error) {
	if u, err := url.Parse(access.URL); err != nil || u.Scheme == "" || u.User != nil {
		return nil, errors.New("clone: want the URL of a repository without credentials in it, such as https://git.example/platform.git")
	}
	if author.Name == "" || author.Email == "" {
		return nil, errors.New("clone: a commit needs an author with name and email address")
	}
	dir, err := os.MkdirTemp("", "nines-git-")
	if err != nil {
		return nil, fmt.Errorf("clone %s: %w", access.URL, err)
	}
	r := &Repository{dir: dir, branch: branch, env: access.environment(author)}
	if err := r.begin(ctx, access.URL); err != nil {
		return nil, errors.Join(fmt.Errorf("clone %s: %w", access.URL, err), r.Close())
	}
	return r, nil
}

func (r *Repository) begin(ctx context.Context, address string) error {
	if _, err := r.git(ctx, "", "init", "--quiet", "--template=", "--initial-branch="+r.branch, "."); err != nil {
		return err
	}
	if _, err := r.git(ctx, "", "remote", "add", "origin", address); err != nil {
		return err
	}
	return r.renew(ctx)
}

// Close removes the clone.
func (r *Repository) Close() error { return os.RemoveAll(r.dir) }

// Dir is the folder of the tree, until Close.
func (r *Repository) Dir() string { return r.dir }

// tip is the newest commit that the host has; "" if it has none.
func (r *Repository) tip(ctx context.Context) (string, error) {
	out, err := r.git(ctx, "", "ls-remote", "origin", "refs/heads/"+r.branch)
	hash, _, _ := strings.Cut(out, "\t")
	return hash, err
}

// renew makes the clone what the host has now.
func (r *Repository) renew(ctx context.Context) error {
	tip, err := r.tip(ctx)
	if err != nil || tip == "" {
		return err
	}
	if _, err := r.git(ctx, "", "fetch", "--quiet", "--no-tags", "--depth=1", "origin", r.branch); err != nil {
		return err
	}
	return r.reset(ctx, "FETCH_HEAD")
}

// reset leaves nothing behind of what was begun.
func (r *Repository) reset(ctx context.Context, to string) error {
	if _, err := r.git(ctx, "", "reset", "--quiet", "--hard", to); err != nil {
		return err
	}
	_, err := r.git(ctx, "", "clean", "-ffdxq")
	return err
}

// deepen fetches the history that a shallow clone lacks.
func (r *Repository) deepen(ctx context.Context) error {
	out, err := r.git(ctx, "", "rev-parse", "--is-shallow-repository")
	if err != nil || strings.TrimSpace(out) != "true" {
		return err
	}
	_, err = r.git(ctx, "", "fetch", "--quiet", "--no-tags", "--unshallow", "origin", r.branch)
	return err
}

// Head is the commit that the tree is at; "" if there is none yet.
func (r *Repository) Head(ctx context.Context) (string, error) {
	out, err := r.git(ctx, "", "for-each-ref", "--format=%(objectname)", "refs/heads/"+r.branch)
	return strings.TrimSpace(out), err
}

// Replace makes the rendered files of the tree exactly these. What people have
// added beside them stays.
func (r *Repository) Replace(files []render.File) (render.Changes, error) {
	for _, f := range files {
		if first, _, _ := strings.Cut(path.Clean(f.Path), "/"); strings.EqualFold(first, ".git") {
			return render.Changes{}, fmt.Errorf("write %s: that is Git's own", f.Path)
		}
	}
	return render.Folder(r.dir, files)
}

const (
	mostFiles = 20_000
	largest   = 8 << 20 // bytes of a file
)

// Files are the rendered files of the tree.
func (r *Repository) Files() ([]render.File, error) {
	root, err := os.OpenRoot(r.dir) // a tree may hold links that lead out
	if err != nil {
		return nil, fmt.Errorf("read the tree: %w", err)
	}
	defer root.Close()
	var files []render.File
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name == ".git":
			return fs.SkipDir
		case !entry.Type().IsRegular():
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Size() > largest || len(files) == mostFiles {
			return fmt.Errorf("%s: this is too much; at most %d files of %d MiB", name, mostFiles, largest>>20)
		}
		body, err := root.ReadFile(name)
		if err == nil && bytes.HasPrefix(body, []byte(render.Header)) {
			files = append(files, render.File{Path: name, Body: body})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the tree: %w", err)
	}
	return files, nil
}
