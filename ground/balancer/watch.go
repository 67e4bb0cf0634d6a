package balancer

import (
	"context"
	"time"
)

// watch starts a prober unless there is one. The plane is locked.
func (p *Plane) watch(t target, node string) {
	if old, found := p.probers[t]; found {
		old.node = node
		return
	}
	ctx, stop := context.WithCancel(p.ctx)
	prober := &prober{
		target: t, node: node, router: p.router, source: p.cfg.Source, settle: p.cfg.Settle, stop: stop,
		state: Unknown, since: time.Now(), tell: p.hear,
	}
	p.probers[t] = prober
	p.wg.Go(func() {
		defer stop()
		prober.run(ctx)
	})
}

// hear takes one answer of a probe and reprograms when it turns a backend.
func (p *Plane) hear(prober *prober, answer State, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.probers[prober.target] != prober {
		return
	}
	if !prober.observe(answer, err, time.Now()) {
		return
	}
	if answer == Up {
		prober.settle = 0
	}
	change := Change{Node: prober.node, Address: prober.address, Probe: prober.probe, State: prober.state, Reason: prober.reason, At: prober.since}
	p.log.Info("backend turned", "node", change.Node, "address", change.Address, "probe", prober.hostPort(), "state", change.State, "reason", change.Reason)
	if err := p.program(p.ctx); err != nil {
		p.log.Error("program balancer", "error", err)
	}
	if p.cfg.Changed != nil {
		p.cfg.Changed(change)
	}
}

// maintain repairs routes that went down with a link, and what failed before.
func (p *Plane) maintain() {
	ticker := time.NewTicker(refreshEvery)
	defer ticker.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-ticker.C:
		}
		p.mu.Lock()
		if !p.closed && p.stale {
			if err := p.program(p.ctx); err != nil {
				p.log.Error("program balancer", "error", err)
			}
		}
		if !p.closed {
			if err := p.steering.refresh(); err != nil {
				p.log.Error("repair balancer routes", "error", err)
			}
		}
		p.mu.Unlock()
	}
}
