package engine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// arguments of the compiler, without the place of the result.
func (e Engine) arguments() []string {
	r := e.recipe
	var args []string
	if r.C != nil {
		for _, f := range r.C.Flags {
			args = append(args, expand(f, e.Version))
		}
		return args
	}
	args = append(args, "-trimpath")
	if len(r.Tags) > 0 {
		args = append(args, "-tags", strings.Join(r.Tags, ","))
	}
	if r.LDFlags != "" {
		args = append(args, "-ldflags", expand(r.LDFlags, e.Version))
	}
	return args
}

// environment of the go command: nothing of a workspace or of the user's own
// flags reaches an engine.
func (e Engine) environment() []string {
	cgo := "CGO_ENABLED=0"
	if e.CGO {
		cgo = "CGO_ENABLED=1"
	}
	return []string{"GOFLAGS=-mod=readonly", "GOWORK=off", cgo}
}

// packages are those of the programs: all the tools of the folder, or some.
func (e Engine) packages() []string {
	if len(e.recipe.Only) == 0 {
		return []string{"tool"}
	}
	var list []string
	for _, p := range e.Programs {
		list = append(list, p.Package)
	}
	return list
}

// command is the compile for a person to repeat.
func (e Engine) command() string {
	var words []string
	if e.recipe.C != nil {
		words = append(words, "gcc")
		words = append(words, e.arguments()...)
		words = append(words, "-o", "/dev/null")
		return "cd " + quote(e.dir) + " && " + quoteAll(words) +
			` "$(go list -m -f '{{.Dir}}' ` + quote(e.Module) + `)/` + e.recipe.C.File + `"`
	}
	words = append(words, e.environment()...)
	words = append(words, "go", "build")
	words = append(words, e.arguments()...)
	words = append(words, "-o", "/dev/null")
	words = append(words, e.packages()...)
	return "cd " + quote(e.dir) + " && " + quoteAll(words)
}

func (b *Builder) compile(ctx context.Context, e Engine, out string, tell func(Event)) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("build %s: %w", e.Name, err)
	}
	if e.recipe.C != nil {
		return b.compileC(ctx, e, out, tell)
	}
	tell(Event{Phase: Resolving})
	todo, err := e.stale(ctx, tell)
	if err != nil {
		return err
	}
	progress := Event{Phase: Compiling, Total: len(todo)}
	if progress.Total == 0 {
		progress.Phase = Linking
	}
	tell(progress)

	args := append([]string{"build", "-v"}, e.arguments()...)
	args = append(args, "-o", out+string(filepath.Separator))
	cmd := e.goCommand(ctx, append(args, e.packages()...)...)
	last := &tail{keep: 40}
	err = run(cmd, func(line string) {
		last.add(line)
		if !todo[line] {
			return
		}
		delete(todo, line)
		progress.Done++
		progress.Detail = line
		if progress.Done == progress.Total {
			progress.Phase = Linking
		}
		tell(progress)
	})
	if err != nil {
		return e.failure(ctx, err, last)
	}
	for _, p := range e.Programs {
		if p.built != p.Name {
			if err := os.Rename(filepath.Join(out, p.built), filepath.Join(out, p.Name)); err != nil {
				return fmt.Errorf("build %s: %w", e.Name, err)
			}
		}
		if _, err := os.Stat(filepath.Join(out, p.Name)); err != nil {
			return fmt.Errorf("build %s: the compiler left no %s: %w", e.Name, p.Name, err)
		}
	}
	return nil
}

// stale lists the packages that have to be compiled, which downloads what is
// missing of the modules first.
func (e Engine) stale(ctx context.Context, tell func(Event)) (map[string]bool, error) {
	args := append([]string{"list", "-deps"}, e.arguments()...)
	args = append(args, "-f", "{{if .Stale}}{{.ImportPath}}\t{{.StaleReason}}{{end}}")
	args = append(args, e.packages()...)
	cmd := e.goCommand(ctx, args...)
	var found bytes.Buffer
	cmd.Stdout = &found
	last := &tail{keep: 40}
	err := run(cmd, func(line string) {
		last.add(line)
		if rest, ok := strings.CutPrefix(line, "go: downloading "); ok {
			tell(Event{Phase: Resolving, Detail: rest})
		}
	})
	if err != nil {
		return nil, e.failure(ctx, err, last)
	}
	todo := map[string]bool{}
	for line := range strings.Lines(found.String()) {
		pkg, reason, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if ok && !strings.Contains(reason, "available in build cache") {
			todo[pkg] = true
		}
	}
	return todo, nil
}

func (b *Builder) compileC(ctx context.Context, e Engine, out string, tell func(Event)) error {
	tell(Event{Phase: Resolving})
	last := &tail{keep: 40}
	dir, err := e.moduleDir(ctx, last)
	if err != nil {
		return err
	}
	tell(Event{Phase: Compiling, Total: 1})
	c := e.recipe.C
	args := append(e.arguments(), "-o", filepath.Join(out, c.Binary), filepath.Join(dir, c.File))
	if err := run(command(ctx, e.dir, nil, "gcc", args...), last.add); err != nil {
		return e.failure(ctx, err, last)
	}
	tell(Event{Phase: Linking, Done: 1, Total: 1})
	return nil
}

// moduleDir is where the engine's module is on this machine.
func (e Engine) moduleDir(ctx context.Context, last *tail) (string, error) {
	look := func() (string, error) {
		var dir bytes.Buffer
		cmd := e.goCommand(ctx, "list", "-m", "-f", "{{.Dir}}", e.Module)
		cmd.Stdout = &dir
		if err := run(cmd, last.add); err != nil {
			return "", e.failure(ctx, err, last)
		}
		return strings.TrimSpace(dir.String()), nil
	}
	dir, err := look()
	if err != nil || dir != "" {
		return dir, err
	}
	// A module whose packages were never needed is listed without a folder
	// until it is downloaded.
	if err := run(e.goCommand(ctx, "mod", "download", e.Module), last.add); err != nil {
		return "", e.failure(ctx, err, last)
	}
	return look()
}

// share copies the files that go with the programs.
func (e Engine) share(ctx context.Context, out string) error {
	if len(e.recipe.Files) == 0 {
		return nil
	}
	dir, err := e.moduleDir(ctx, &tail{keep: 40})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("build %s: %w", e.Name, err)
	}
	for name, from := range e.recipe.Files {
		body, err := os.ReadFile(filepath.Join(dir, from))
		if err == nil {
			err = os.WriteFile(filepath.Join(out, name), body, 0o644)
		}
		if err != nil {
			return fmt.Errorf("build %s: %w", e.Name, err)
		}
	}
	return nil
}

func (e Engine) goCommand(ctx context.Context, args ...string) *exec.Cmd {
	return command(ctx, e.dir, e.environment(), "go", args...)
}

// command runs a compiler in a process group of its own, so that cancelling
// ends its children too.
func command(ctx context.Context, dir string, env []string, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// run calls line for each line the command writes to its standard error, and
// to its standard output unless that is taken.
func run(cmd *exec.Cmd, line func(string)) error {
	// The death signal follows the thread that starts the child, so that
	// thread has to live as long.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, w := io.Pipe()
	cmd.Stderr = w
	if cmd.Stdout == nil {
		cmd.Stdout = w
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			line(lines.Text())
		}
		io.Copy(io.Discard, r)
	}()
	err := cmd.Run()
	w.Close()
	<-read
	return err
}

func (e Engine) failure(ctx context.Context, err error, last *tail) error {
	if ctx.Err() != nil {
		return fmt.Errorf("build %s: stopped; what was compiled is kept: %w", e.Name, context.Cause(ctx))
	}
	if errors.Is(err, exec.ErrNotFound) && len(e.Packages) > 0 {
		return fmt.Errorf("build %s: %w; install what it needs: apt-get install %s", e.Name, err, strings.Join(e.Packages, " "))
	}
	hint := ""
	if len(e.Packages) > 0 {
		hint = "\nit needs the Debian packages: " + strings.Join(e.Packages, " ")
	}
	return fmt.Errorf("build %s: %w%s\nlast lines:\n%srepeat it with: %s", e.Name, err, hint, last, e.command())
}
