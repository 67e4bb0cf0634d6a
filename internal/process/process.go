// Package process runs one supervised child: started in given namespaces and a
// control group, its output appended to a log file, started again when it ends
// by itself, ended with a signal and then by force. Call Start; Stop ends it.
// It does not know what the child is for or when it is ready.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nines-ha/nines/internal/cgroup"
	"github.com/nines-ha/nines/internal/namespace"
)

// Spec says what to run and where.
type Spec struct {
	Name       string
	Path       string   // of the program, as seen in Namespaces
	Args       []string // without the program itself
	Env        []string // whole environment
	Dir        string
	Root       string // chroot, if any
	UID, GID   uint32 // 0 is root
	LogFile    string
	Namespaces *namespace.Set // nil: the caller's
	Group      *cgroup.Group  // nil: the caller's
	StopSignal syscall.Signal // 0: SIGTERM
	StopWithin time.Duration  // then SIGKILL; 0: 5 s
	// NoNewPrivileges keeps the child, and what it starts, from gaining any by a
	// set-uid program.
	NoNewPrivileges bool
	// RestartAfter is the pause before a child that ended by itself is started
	// again; 0 leaves it ended.
	RestartAfter time.Duration
	OnExit       func(error) // called each time the child ends by itself
}

// Command is the child's command line, for people to paste.
func (s Spec) Command() string {
	words := []string{quote(s.Path)}
	for _, a := range s.Args {
		words = append(words, quote(a))
	}
	return strings.Join(words, " ")
}

func quote(word string) string {
	if word != "" && !strings.ContainsAny(word, " \t\n\"'$&|;<>()*?[]{}#~`\\!") {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// Process is a started child.
type Process struct {
	spec Spec
	stop chan struct{} // closed by Stop
	done chan struct{} // closed when the child has ended for good
	once sync.Once

	mu       sync.Mutex
	pid      int       // 0 between two lives
	since    time.Time // of pid
	restarts int
	last     error
}

// Start starts the child and returns when the kernel has it.
func Start(spec Spec) (*Process, error) {
	p := &Process{spec: spec, stop: make(chan struct{}), done: make(chan struct{})}
	cmd, err := p.launch()
	if err != nil {
		return nil, err
	}
	go p.supervise(cmd)
	return p, nil
}

func (p *Process) launch() (*exec.Cmd, error) {
	s := p.spec
	log, err := os.OpenFile(s.LogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", s.Name, err)
	}
	defer log.Close()
	cmd := exec.Command(s.Path, s.Args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = s.Env, s.Dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Chroot: s.Root}
	if s.UID != 0 || s.GID != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: s.UID, Gid: s.GID}
	}
	if s.Group != nil {
		dir, err := s.Group.OpenV2()
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", s.Name, err)
		}
		if dir != nil {
			defer dir.Close()
			cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
		}
	}
	err = namespace.Thread(func() error {
		// The group first: inside a node /sys/fs/cgroup begins at the node's own root.
		if s.Group != nil {
			if err := s.Group.AddThread(); err != nil {
				return err
			}
		}
		if s.Namespaces != nil {
			if err := s.Namespaces.Enter(); err != nil {
				return err
			}
		}
		if s.NoNewPrivileges {
			// Of this thread, which ends with Thread; the child inherits it.
			if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
				return fmt.Errorf("no new privileges: %w", err)
			}
		}
		return cmd.Start()
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w\ncommand: %s", s.Name, err, s.Command())
	}
	p.mu.Lock()
	p.pid, p.since = cmd.Process.Pid, time.Now()
	p.mu.Unlock()
	return cmd, nil
}

func (p *Process) supervise(cmd *exec.Cmd) {
	defer close(p.done)
	for {
		err := cmd.Wait()
		if err == nil {
			err = errors.New("exit status 0")
		}
		p.mu.Lock()
		p.pid, p.since, p.last = 0, time.Now(), err
		p.mu.Unlock()
		select {
		case <-p.stop:
			return
		default:
		}
		if p.spec.OnExit != nil {
			p.spec.OnExit(err)
		}
		for cmd = nil; cmd == nil; {
			if p.spec.RestartAfter == 0 {
				return
			}
			select {
			case <-p.stop:
				return
			case <-time.After(p.spec.RestartAfter):
			}
			p.mu.Lock()
			p.restarts++
			p.mu.Unlock()
			if cmd, err = p.launch(); err != nil {
				p.mu.Lock()
				p.last = err
				p.mu.Unlock()
			}
		}
		select {
		case <-p.stop: // Stop came while the child was being started and saw no pid
			_ = cmd.Process.Kill()
		default:
		}
	}
}

// Stop ends the child: its signal first, SIGKILL when StopWithin or ctx is over.
// It may be called more than once and returns when the child has ended.
func (p *Process) Stop(ctx context.Context) {
	p.once.Do(func() { close(p.stop) })
	sig, within := p.spec.StopSignal, p.spec.StopWithin
	if sig == 0 {
		sig = syscall.SIGTERM
	}
	if within == 0 {
		within = 5 * time.Second
	}
	_ = p.Signal(sig)
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.done:
		return
	case <-timer.C:
	case <-ctx.Done():
	}
	_ = p.Signal(syscall.SIGKILL)
	<-p.done
}

// Signal sends sig to the child; an ended child is an error.
func (p *Process) Signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid == 0 {
		return fmt.Errorf("%s is not running", p.spec.Name)
	}
	return syscall.Kill(p.pid, sig)
}

// PID is the child's process id, 0 when it does not run.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// Since is when the child's present life began, or its last one ended.
func (p *Process) Since() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.since
}

// Restarts counts how often the child was started again, and gives the reason
// of its last end.
func (p *Process) Restarts() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.restarts, p.last
}

// Done is closed when the child has ended and is not started again.
func (p *Process) Done() <-chan struct{} { return p.done }

// Name is the name that Spec gave it.
func (p *Process) Name() string { return p.spec.Name }
