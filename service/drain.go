package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// stop is the drain, in the order that the package comment gives. It says what
// had to be cut off.
func (p *process) stop(delay bool) error {
	close(p.draining)
	if delay {
		p.log.Info("draining", "delay", p.settings.DrainDelay, "timeout", p.settings.ShutdownTimeout)
		p.waitOut(p.settings.DrainDelay)
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.settings.ShutdownTimeout)
	defer cancel()

	var cut []error
	if err := p.finishRequests(ctx); err != nil {
		cut = append(cut, err)
	}
	p.end()
	if err := p.awaitBackground(ctx); err != nil {
		cut = append(cut, err)
	}
	p.mu.Lock()
	hooks := slices.Clone(p.hooks)
	p.mu.Unlock()
	for _, h := range slices.Backward(hooks) {
		if err := p.runHook(ctx, h); err != nil {
			cut = append(cut, fmt.Errorf("stop %s: %w", h.name, err))
		}
	}
	if err := p.flush(ctx); err != nil {
		p.log.Warn("telemetry not flushed", "error", err) // no request was harmed
	}
	p.transport.CloseIdleConnections()
	for _, admin := range p.admin {
		_ = admin.Close()
	}
	return errors.Join(cut...)
}

// finishRequests leaves a quarter of the time to what has to be closed after.
func (p *process) finishRequests(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.settings.ShutdownTimeout*3/4)
	defer cancel()
	defer p.server.Close()
	err := p.server.Shutdown(ctx)
	if running := p.awaitIdle(ctx); running > 0 {
		return fmt.Errorf("requests cut off: %d", running)
	}
	if err != nil {
		return fmt.Errorf("close connections: %w", err)
	}
	return nil
}

// waitOut is the drain delay. A listener that fails meanwhile ends it.
func (p *process) waitOut(delay time.Duration) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case err := <-p.broken:
		p.log.Error("drain cut short", "error", err)
	}
}

// awaitIdle returns how many requests are left. Shutdown alone would not do: it
// forgets hijacked connections, whose handlers may still run.
func (p *process) awaitIdle(ctx context.Context) int64 {
	for {
		running := p.inFlight.Load()
		if running == 0 {
			return 0
		}
		select {
		case <-p.idle:
		case <-ctx.Done():
			return running
		}
	}
}

func (p *process) awaitBackground(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		p.background.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errors.New("background work still running")
	}
}

// runHook leaves a hook behind that ignores its context: the process is ending.
func (p *process) runHook(ctx context.Context, h hook) error {
	done := make(chan error, 1)
	go func() {
		done <- p.guard(func() error { return h.stop(ctx) })
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		select {
		case err := <-done:
			return err
		default:
			return ctx.Err()
		}
	}
}

// flush has a little time of its own, so that a slow drain is still reported.
func (p *process) flush(ctx context.Context) error {
	const least = time.Second
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < least {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), least)
		defer cancel()
	}
	return p.telemetry.stop(ctx)
}
