package part

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nines-ha/nines/internal/process"
)

// Halt ends the program of a part with SIGKILL and keeps it down; with false it
// starts the program again and returns when the part is ready. What the part's
// Prepare made stays. It does nothing to a part that is already so.
func (r *Runner) Halt(ctx context.Context, name string, halted bool) error {
	r.halting.Lock()
	defer r.halting.Unlock()
	r.mu.Lock()
	child, state := r.process[name], r.state[name]
	r.mu.Unlock()
	i := slices.IndexFunc(r.parts, func(p Part) bool { return p.Name == name })
	if child == nil || i < 0 {
		return fmt.Errorf("%s is not a running program", name)
	}
	switch {
	case halted && state == Stopped, !halted && state != Stopped:
		return nil
	case halted:
		killed, cancel := context.WithCancel(ctx)
		cancel() // no grace
		child.Stop(killed)
		r.set(name, Event{State: Stopped})
		return nil
	}
	return r.resume(ctx, r.parts[i])
}

func (r *Runner) resume(ctx context.Context, p Part) (err error) {
	began := time.Now()
	child, err := process.Start(*p.Program)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	r.mu.Lock()
	r.process[p.Name] = child
	r.mu.Unlock()
	r.set(p.Name, Event{State: Starting})
	defer func() { r.started(p, began, err) }()
	within := p.within()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return r.await(ctx, p, within, nil) // a program that ends meanwhile is started again
}
