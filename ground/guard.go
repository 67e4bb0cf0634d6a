package ground

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// guardStage is the first argument that makes the program a guard.
const guardStage = "stage-guard"

// guardMain waits until its owner has ended, in whatever way, and cleans up. It
// holds the read end of a pipe whose other end only the owner has.
func guardMain(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("a guard needs the name of a ground")
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return clean(args[0])
}

// guard outlives the owner.
type guard struct {
	cmd  *exec.Cmd
	hold io.Closer
}

// startGuard hands the lock to the guard too: no other owner may begin while it
// still cleans.
func startGuard(name string, lock, log *os.File) (*guard, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, guardStage, name)
	cmd.Stderr = log
	cmd.ExtraFiles = []*os.File{lock}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	hold, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start guard: %w", err)
	}
	return &guard{cmd, hold}, nil
}

// release lets the guard clean up and waits until it has.
func (g *guard) release(ctx context.Context) error {
	g.hold.Close()
	done := make(chan error, 1)
	go func() { done <- g.cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("clean up: %w; see the log of the guard", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("clean up: %w", ctx.Err())
	}
}
