package watch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/nines-ha/nines/drill/workload"
)

// askDeployment also proves that the API server answers: a watch is as quiet when
// nothing happens as when nobody is there.
func (w *Watch) askDeployment(ctx context.Context) error {
	began := time.Now()
	d, err := workload.Get(ctx, w.Kube, w.Namespace, w.Service)
	posted := w.post(ctx, func(b *book, _ time.Duration) {
		b.apiTrouble = err
		switch {
		case err == nil:
			b.service.deployments, b.service.asked = []*appsv1.Deployment{d}, began
		case apierrors.IsNotFound(err):
			b.service.deployments, b.service.asked, b.apiTrouble = nil, began, nil
		}
	})
	if err == nil {
		err = posted
	}
	return err
}

// Unsteady says what is not in order now, a sentence each; none says that
// everything is.
func (w *Watch) Unsteady() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.book.unsteady()
}

// Await returns when a look at everything, begun after the call, finds nothing
// that is not in order, and no stream of the API server is broken off. Its error says what was not when ctx ended.
func (w *Watch) Await(ctx context.Context) error {
	began := time.Now()
	for {
		w.mu.Lock()
		changed := w.changed
		fresh := w.book.hearsAll() && w.book.askedSince(began) && (!w.book.hasGround || !w.book.looked.Before(began))
		unsteady := w.book.unsteady()
		w.mu.Unlock()
		if fresh && len(unsteady) == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if len(unsteady) == 0 {
				unsteady = []string{"nobody could be asked"}
			}
			return fmt.Errorf("%s: %w", strings.Join(unsteady, "; "), ctx.Err())
		}
	}
}

func (b *book) hearsAll() bool {
	for _, unheard := range b.unheard {
		if unheard {
			return false
		}
	}
	return true
}

func (b *book) askedSince(began time.Time) bool {
	return !slices.ContainsFunc(b.crews(), func(c *crew) bool { return c.asked.Before(began) })
}

func (b *book) unsteady() []string {
	var all []string
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if b.apiTrouble != nil {
		say("the API server does not answer: %v", b.apiTrouble)
	}
	for _, c := range b.crews() {
		b.unsteadyCrew(c, say)
		for _, name := range sorted(c.pods) {
			if state := b.podNow(c.pods[name]); state != "ready" {
				say("pod %s is %s", name, state)
			}
		}
	}
	for _, name := range sorted(b.nodes) {
		if state := b.nodes[name].state; state != "ready" {
			say("node %s is %s", name, state)
		}
	}
	if b.hasGround {
		b.unsteadyGround(say)
	}
	return all
}

// podNow leaves out what is over for good and nobody's any more.
func (b *book) podNow(p *pod) string {
	if over(p.Pod) && p.DeletionTimestamp == nil {
		return "ready"
	}
	state, _ := b.podState(p)
	return state
}

func (b *book) unsteadyCrew(c *crew, say func(string, ...any)) {
	if len(c.deployments) == 0 {
		if b.apiTrouble == nil {
			say("there is no deployment %s/%s", c.namespace, c.name)
		}
		return
	}
	for _, d := range c.deployments {
		want := wanted(d)
		s := d.Status
		switch {
		case s.ObservedGeneration < d.Generation:
			say("deployment %s has changed, and nobody has looked at it yet", d.Name)
		case s.UpdatedReplicas < want:
			say("deployment %s has updated %d of %d replicas", d.Name, s.UpdatedReplicas, want)
		case s.Replicas > want:
			say("deployment %s has %d replicas, and %d are wanted", d.Name, s.Replicas, want)
		case s.AvailableReplicas < want:
			say("deployment %s has %d of %d replicas available", d.Name, s.AvailableReplicas, want)
		}
	}
	if ready := c.ready(); ready != c.wanted() {
		say("service %s has %d ready endpoints, and %d are wanted", c.name, ready, c.wanted())
	}
	for _, name := range sorted(c.pods) {
		if b.podNow(c.pods[name]) == "ready" && !over(c.pods[name].Pod) && c.endpoints[name].state != "ready" {
			say("pod %s is ready, but no ready endpoint", name)
		}
	}
	for _, name := range sorted(c.endpoints) {
		if state := c.endpoints[name].state; state != "ready" {
			say("endpoint %s is %s", name, state)
		}
	}
}

func (b *book) unsteadyGround(say func(string, ...any)) {
	if b.trouble != nil {
		say("the ground does not answer: %v", b.trouble)
	}
	for _, r := range b.world.Regions {
		if r.Name != b.Region {
			continue
		}
		for _, z := range r.Zones {
			if z.Cut {
				say("zone %s is cut off", z.Name)
			}
		}
		for _, n := range r.Nodes {
			switch _, registered := b.nodes[n.Name]; {
			case n.State != "running":
				say("machine %s is %s", n.Name, n.State)
			case n.Cut:
				say("machine %s is cut off", n.Name)
			case !registered:
				say("machine %s is no node of the cluster", n.Name)
			}
		}
	}
	var serving []string
	for _, e := range b.front().endpoints {
		if e.state == "ready" && e.node != "" {
			serving = append(serving, e.node)
		}
	}
	slices.Sort(serving)
	for _, name := range slices.Compact(serving) {
		if now, there := b.backends[name]; there && now.state != "up" {
			say("the load balancer sees node %s %s: %s", name, now.state, now.reason)
		} else if !there && len(b.backends) > 0 {
			say("node %s serves, but is not in the load balancer's pool", name)
		}
	}
	unready := partsUnready(b.world)
	for _, name := range sorted(unready) {
		say("part %s is %s", name, unready[name])
	}
	for _, s := range b.world.Stores {
		if s.Suspended {
			say("store %s is suspended", s.Name)
		}
	}
	if g := b.world.Git; g != nil && g.Suspended {
		say("the Git host is suspended")
	}
}
