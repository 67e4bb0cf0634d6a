package part

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nines-ha/nines/internal/process"
)

// State of a part while a Runner works.
type State string

const (
	Waiting  State = "waiting"
	Starting State = "starting"
	Ready    State = "ready"
	Failed   State = "failed"
	Stopped  State = "stopped"
)

// Event says that a part changed its state.
type Event struct {
	Part    string
	State   State
	Elapsed time.Duration // since the part began to start
	Err     string        `json:",omitempty"`
}

// Runner starts and stops a list of parts.
type Runner struct {
	parts  []Part
	notify func(Event)

	halting sync.Mutex // one Halt at a time

	mu      sync.Mutex
	state   map[string]State
	since   map[string]time.Time // of state
	process map[string]*process.Process
	begun   []string          // in the order they began to start
	unready map[string]string // what a starting part's Ready last said
}

// NewRunner checks the parts. notify is called for each change, one at a time.
func NewRunner(parts []Part, notify func(Event)) (*Runner, error) {
	ordered, err := Order(parts)
	if err != nil {
		return nil, err
	}
	r := &Runner{parts: ordered, notify: notify, state: map[string]State{}, since: map[string]time.Time{}, process: map[string]*process.Process{}, unready: map[string]string{}}
	for _, p := range ordered {
		r.state[p.Name] = Waiting
	}
	return r, nil
}

// Start brings all parts up, each as soon as its needs are ready, and returns
// when all are, or after the first failure when everything that had begun has
// been stopped again.
func (r *Runner) Start(ctx context.Context) error {
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ready := map[string]chan struct{}{}
	for _, p := range r.parts {
		ready[p.Name] = make(chan struct{})
	}
	var wg sync.WaitGroup
	for _, p := range r.parts {
		wg.Go(func() {
			for _, need := range p.Needs {
				select {
				case <-ready[need]:
				case <-run.Done():
					return
				}
			}
			if err := r.start(run, p); err != nil {
				cancel(err)
				return
			}
			close(ready[p.Name])
		})
	}
	wg.Wait()
	err := context.Cause(run)
	if err == nil {
		return nil
	}
	r.Stop(context.WithoutCancel(ctx))
	return err
}

// started tells how a start went that began then.
func (r *Runner) started(p Part, began time.Time, err error) {
	event := Event{State: Ready, Elapsed: time.Since(began)}
	if err != nil {
		event.State, event.Err = Failed, err.Error()
	}
	r.set(p.Name, event)
}

// within bounds a start.
func (p Part) within() time.Duration {
	if p.Within == 0 {
		return time.Minute
	}
	return p.Within
}

func (r *Runner) start(ctx context.Context, p Part) (err error) {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	began := time.Now()
	r.mu.Lock()
	r.begun = append(r.begun, p.Name)
	r.mu.Unlock()
	r.set(p.Name, Event{State: Starting})
	defer func() { r.started(p, began, err) }()
	within := p.within()
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if p.Prepare != nil {
		if err := p.Prepare(limited); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	ended := make(chan error, 1)
	if p.Program != nil {
		spec := *p.Program
		spec.OnExit = func(err error) {
			select {
			case ended <- err:
			default:
			}
		}
		child, err := process.Start(spec)
		if err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		r.mu.Lock()
		r.process[p.Name] = child
		r.mu.Unlock()
	}
	return r.await(limited, p, within, ended)
}

func (r *Runner) await(ctx context.Context, p Part, within time.Duration, ended <-chan error) error {
	if p.Ready == nil {
		return nil
	}
	last := errors.New("it was never asked")
	for pause := 10 * time.Millisecond; ; pause = min(pause*3/2, 100*time.Millisecond) {
		if err := p.Ready(ctx); err == nil {
			return nil
		} else if ctx.Err() == nil {
			last = err
			r.mu.Lock()
			r.unready[p.Name] = err.Error()
			r.mu.Unlock()
		}
		select {
		case err := <-ended:
			return r.explain(p, fmt.Errorf("%s ended before it was ready: %w", p.Name, err))
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				return r.explain(p, fmt.Errorf("%s is not ready after %s: %w", p.Name, within, last))
			}
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// explain adds the last words of a program's log and how to run it by hand.
func (r *Runner) explain(p Part, err error) error {
	if p.Program == nil {
		return err
	}
	return fmt.Errorf("%w\n  last lines of %s:\n%s\n  command: %s", err, p.Program.LogFile, indent(tail(p.Program.LogFile, 10)), p.Program.Command())
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ")
}

// tail reads the last lines of a file, of its last 16 KiB at the most.
func tail(path string, lines int) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 16<<10 {
		_, _ = f.Seek(-16<<10, io.SeekEnd)
	}
	body, _ := io.ReadAll(f)
	all := bytes.Split(bytes.TrimRight(body, "\n"), []byte("\n"))
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return string(bytes.Join(all, []byte("\n")))
}

func (r *Runner) set(name string, e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state[name] != e.State {
		r.state[name], r.since[name] = e.State, time.Now()
	}
	e.Part = name
	r.notify(e)
}

// Stop ends every part that has begun, in reverse of the order they began, and
// may be called more than once. It goes on after errors and joins them.
func (r *Runner) Stop(ctx context.Context) error {
	r.mu.Lock()
	begun := r.begun
	r.begun = nil
	r.mu.Unlock()
	byName := map[string]Part{}
	for _, p := range r.parts {
		byName[p.Name] = p
	}
	var errs []error
	for i := len(begun) - 1; i >= 0; i-- {
		p := byName[begun[i]]
		r.mu.Lock()
		child := r.process[p.Name]
		delete(r.process, p.Name)
		r.mu.Unlock()
		if child != nil {
			child.Stop(ctx)
		}
		if p.Undo != nil {
			if err := p.Undo(ctx); err != nil {
				errs = append(errs, fmt.Errorf("stop %s: %w", p.Name, err))
			}
		}
		r.set(p.Name, Event{State: Stopped})
	}
	return errors.Join(errs...)
}

// Kill sends SIGKILL to a part's program, which then starts again.
func (r *Runner) Kill(name string) error {
	r.mu.Lock()
	child := r.process[name]
	r.mu.Unlock()
	if child == nil {
		return fmt.Errorf("%s is not a running program", name)
	}
	return child.Signal(syscall.SIGKILL)
}

// Status is one part as it is now.
type Status struct {
	Name     string `json:"name"`
	State    State  `json:"state"`
	About    string `json:"about,omitempty"`
	Waits    string `json:"waits,omitempty"` // why a starting part is not ready yet
	PID      int    `json:"pid,omitempty"`
	Restarts int    `json:"restarts,omitempty"`
	LogFile  string `json:"log,omitempty"`
	// Since is when State became what it is, or the program's present life began
	// or its last one ended, whichever is later.
	Since time.Time `json:"since,omitzero"`
}

// Status lists all parts in their order.
func (r *Runner) Status() []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []Status
	for _, p := range r.parts {
		s := Status{Name: p.Name, State: r.state[p.Name], About: p.About, Since: r.since[p.Name]}
		if s.State == Starting {
			s.Waits = r.unready[p.Name]
		}
		if p.Program != nil {
			s.LogFile = p.Program.LogFile
		}
		if child := r.process[p.Name]; child != nil {
			s.PID = child.PID()
			s.Restarts, _ = child.Restarts()
			if lived := child.Since(); lived.After(s.Since) {
				s.Since = lived
			}
		}
		list = append(list, s)
	}
	return list
}

// StopOne ends the program of one part, gracefully, and leaves the rest.
func (r *Runner) StopOne(ctx context.Context, name string) {
	r.mu.Lock()
	child := r.process[name]
	r.mu.Unlock()
	if child != nil {
		child.Stop(ctx)
	}
}
