package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// suite is the Debian release that programs come from.
	suite = "bookworm"
	// rootLayout is part of a root's key; it counts changes to how one is made.
	rootLayout = 1
	rootLimit  = 20 * time.Minute
)

// Root makes a root file system that holds Debian's packages and returns its
// directory. It is made once and then shared: nobody may write into it. No
// package's server is started, on the host or in the root, and no PostgreSQL
// cluster is created. It needs root.
func (b *Builder) Root(ctx context.Context, name string, packages []string) (dir string, err error) {
	began := time.Now()
	tell := func(ev Event) {
		ev.Engine, ev.Elapsed = name, time.Since(began)
		b.tell(ev)
	}
	if err := validRoot(name, packages); err != nil {
		return "", err
	}
	final := b.rootDir(name, packages)
	if _, err := os.Stat(final); err == nil {
		tell(Event{Phase: Cached})
		return final, nil
	}
	defer func() {
		if err != nil {
			tell(Event{Phase: Failed, Detail: err.Error()})
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, rootLimit)
	defer cancel()
	unlock, err := lock(ctx, filepath.Dir(final), func(holder string) {
		tell(Event{Phase: Waiting, Detail: "for the root of " + holder})
	})
	if err != nil {
		return "", fmt.Errorf("make the root of %s: %w", name, err)
	}
	defer unlock()
	if _, err := os.Stat(final); err == nil {
		tell(Event{Phase: Cached, Detail: "made by another process"})
		return final, nil
	}
	staging, err := stage(filepath.Dir(final))
	if err != nil {
		return "", fmt.Errorf("make the root of %s: %w", name, err)
	}
	defer os.RemoveAll(staging)
	if err := makeRoot(ctx, staging, packages, func(line string) {
		tell(Event{Phase: Making, Detail: line})
	}); err != nil {
		return "", fmt.Errorf("make the root of %s: %w", name, err)
	}
	if err := publish(staging, final); err != nil {
		return "", fmt.Errorf("publish the root of %s: %w", name, err)
	}
	tell(Event{Phase: Built})
	b.log().Info("root made", "root", name, "packages", packages, "took", time.Since(began).Round(time.Second), "dir", final)
	return final, nil
}

func (b *Builder) rootDir(name string, packages []string) string {
	sorted := slices.Sorted(slices.Values(packages))
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s %q", rootLayout, suite, sorted))
	return filepath.Join(b.CacheDir, "roots", name, suite+"-"+hex.EncodeToString(sum[:])[:12])
}

func validRoot(name string, packages []string) error {
	if name == "" || strings.ContainsAny(name, "/.") {
		return fmt.Errorf("a root cannot be called %q", name)
	}
	if len(packages) == 0 {
		return fmt.Errorf("the root %s names no package", name)
	}
	for _, p := range packages {
		if p == "" || strings.ContainsFunc(p, func(r rune) bool {
			return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789+-.", r)
		}) {
			return fmt.Errorf("%q is not the name of a Debian package", p)
		}
	}
	return nil
}

// makeRoot runs mmdebstrap in a mount namespace of its own, so that what it
// mounts inside the root never shows on the host and goes when it dies.
func makeRoot(ctx context.Context, dir string, packages []string, line func(string)) error {
	if os.Geteuid() != 0 {
		return errors.New("only root can make a root file system; run it with sudo")
	}
	args := []string{
		"--mode=root", "--variant=minbase", "--include=" + strings.Join(packages, ","),
		"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/info/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
		// postgresql-common would otherwise create and try to start a cluster.
		"--essential-hook=mkdir -p \"$1\"/etc/postgresql-common && echo create_main_cluster = false > \"$1\"/etc/postgresql-common/createcluster.conf",
		"--customize-hook=rm -rf \"$1\"/var/log/apt \"$1\"/var/log/dpkg.log \"$1\"/var/log/alternatives.log \"$1\"/var/log/bootstrap.log",
		suite, dir,
	}
	sources, err := debianSources(os.DirFS("/etc/apt"))
	if err != nil {
		return err
	}
	for _, s := range sources {
		args = append(args, filepath.Join("/etc/apt", s))
	}
	cmd := command(ctx, "/", []string{"LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}, "mmdebstrap", args...)
	cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	last := &tail{keep: 20}
	err = run(cmd, func(l string) {
		last.add(l)
		if rest, ok := strings.CutPrefix(l, "I: "); ok {
			line(rest)
		}
	})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		return errors.New("mmdebstrap is not installed; run: apt-get install mmdebstrap")
	case err != nil:
		return fmt.Errorf("%w\nlast lines:\n%srepeat it with: mmdebstrap %s", err, last, quoteAll(args))
	}
	return nil
}

// debianSources picks the host's own sources of the suite, so that a mirror or
// a snapshot configured there is used here too. None found means that
// mmdebstrap asks Debian's own mirror.
func debianSources(apt fs.FS) ([]string, error) {
	files, err := fs.Glob(apt, "sources.list.d/*")
	if err != nil {
		return nil, err
	}
	var chosen []string
	for _, f := range append([]string{"sources.list"}, files...) {
		text, err := fs.ReadFile(apt, f)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the host's package sources: %w", err)
		}
		if servesSuite(text) {
			chosen = append(chosen, f)
		}
	}
	return chosen, nil
}

// servesSuite reads both formats of apt's sources: the suite is a word of a
// "Suites:" field, or the one after the address in a "deb" line.
func servesSuite(text []byte) bool {
	for line := range bytes.Lines(text) {
		words := strings.Fields(string(line))
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "Suites:":
			if slices.Contains(words[1:], suite) {
				return true
			}
		case "deb":
			words = words[1:]
			if strings.HasPrefix(words[0], "[") {
				end := slices.IndexFunc(words, func(w string) bool { return strings.HasSuffix(w, "]") })
				words = words[end+1:]
			}
			if len(words) > 1 && words[1] == suite {
				return true
			}
		}
	}
	return false
}
