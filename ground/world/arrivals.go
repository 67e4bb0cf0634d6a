package world

import (
	"context"
	"sync"
)

// arrivals are what the owner has built so far.
type arrivals struct {
	mu      sync.Mutex
	dirs    map[string]string
	changed chan struct{} // closed and replaced at each arrival
}

func newArrivals() *arrivals {
	return &arrivals{dirs: map[string]string{}, changed: make(chan struct{})}
}

func (a *arrivals) add(name, dir string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dirs[name] = dir
	close(a.changed)
	a.changed = make(chan struct{})
}

// wait returns when name has arrived.
func (a *arrivals) wait(ctx context.Context, name string) error {
	for {
		a.mu.Lock()
		_, ok := a.dirs[name]
		changed := a.changed
		a.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

func (a *arrivals) dir(name string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.dirs[name]
}
