package world

import (
	"context"
	"fmt"
)

// halt keeps a part's program down. A store cannot be: getting ready again would
// give its clients a new password.
func (w *World) halt(ctx context.Context, part string, halted bool) error {
	if s := w.storeOf(part); s != nil {
		return fmt.Errorf("%s is a store: it can be killed or suspended, but not kept down", part)
	}
	return w.runner.Halt(ctx, part, halted)
}

func (w *World) suspend(part string, suspended bool) error {
	if w.git != nil && part == w.git.part {
		return w.git.suspend(suspended)
	}
	s := w.storeOf(part)
	if s == nil {
		return unknown("there is no store %s; only a store or the Git host can be suspended, and a node frozen", part)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.group.Freeze(suspended); err != nil {
		return fmt.Errorf("suspend %s: %w", part, err)
	}
	s.suspended = suspended
	return nil
}

func (w *World) storeOf(part string) *store {
	for _, s := range w.stores {
		if s.part == part {
			return s
		}
	}
	return nil
}

func (s *store) isSuspended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.suspended
}
