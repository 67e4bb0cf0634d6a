package watch

import (
	"context"
	"time"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/record"
)

// A backend is a node as the load balancer in front sees it.
type backend struct{ state, reason string }

func (w *Watch) lookAtGround(ctx context.Context) error {
	began := time.Now()
	status, err := w.look(ctx)
	posted := w.post(ctx, func(b *book, seen time.Duration) {
		b.trouble = err
		if err != nil {
			return
		}
		b.looked, b.world = began, status
		b.takeWorld(seen)
	})
	if err == nil {
		err = posted
	}
	return err
}

func (b *book) takeWorld(seen time.Duration) {
	for _, r := range b.world.Regions {
		if r.Name != b.Region {
			continue
		}
		zones := map[int]string{}
		for _, z := range r.Zones {
			zones[z.Zone] = z.Name
			state := "joined"
			if z.Cut {
				state = "cut"
			}
			b.turn(record.Event{Seen: seen, Kind: record.Zone, Name: z.Name, State: state, Zone: z.Name}, exact(z.Since))
		}
		for _, n := range r.Nodes {
			e := record.Event{Seen: seen, Kind: record.Machine, Name: n.Name, State: n.State, Node: n.Name, Zone: zones[n.Zone]}
			if n.Cut && n.State == "running" {
				e.State = "cut"
			}
			b.turn(e, exact(n.Since))
		}
	}
	b.takeBackends(seen)
	b.takeParts(seen)
	b.takeImpaired(seen)
}

// spareAfter is how long a pod must have had no request to count as spared.
const spareAfter = 2 * time.Second

// takeImpaired tells whether anybody still asks a pod that was made unwell.
func (b *book) takeImpaired(seen time.Duration) {
	now := b.Started.Add(seen)
	for _, r := range b.world.Regions {
		for _, p := range r.Impaired {
			if r.Name != b.Region || p.Namespace != b.Namespace {
				continue
			}
			e := record.Event{Seen: seen, Kind: record.Impaired, Name: p.Pod, State: record.Asked, Node: p.Node, Zone: b.zoneOf(p.Node)}
			last := p.Last
			if last.IsZero() {
				last = p.Since
			}
			switch {
			case p.Trouble != "":
				e.State, e.Reason = record.Broken, p.Trouble
			case now.Sub(last) >= spareAfter:
				e.State = record.Spared
			case p.Requests == 0:
				continue // not yet
			}
			b.turn(e, exact(last))
		}
	}
}

// takeBackends tells the worst that the load balancer says of a node, if several
// ports of the service are asked.
func (b *book) takeBackends(seen time.Duration) {
	rank := map[string]int{"up": 1, "unknown": 2, "down": 3}
	front := b.front().namespace + "/" + b.front().name
	now := map[string]backend{}
	since := map[string]time.Time{}
	for _, r := range b.world.Regions {
		for _, balancer := range r.Balancers {
			if r.Name != b.Region || balancer.Name != front {
				continue
			}
			for _, row := range balancer.Backends {
				if state := string(row.State); rank[state] > rank[now[row.Node].state] {
					now[row.Node], since[row.Node] = backend{state, row.Reason}, row.Since
				}
			}
		}
	}
	event := func(name string, n backend) record.Event {
		return record.Event{Seen: seen, Kind: record.Backend, Name: name, State: n.state, Node: name, Zone: b.zoneOf(name), Reason: n.reason}
	}
	for _, name := range sorted(b.backends) {
		if _, there := now[name]; !there {
			b.turn(event(name, backend{"down", "it left the load balancer's pool"}), instant{})
		}
	}
	for _, name := range sorted(now) {
		b.turn(event(name, now[name]), exact(since[name]))
	}
	b.backends = now
}

// takeParts tells of the ground's programs. What was only to be done once has no
// turns.
func (b *book) takeParts(seen time.Duration) {
	suspended := map[string]bool{}
	for _, s := range b.world.Stores {
		if s.Suspended && len(b.world.Regions) > 0 {
			suspended[b.world.Regions[0].Name+"/"+s.Name] = true // stores are in the first region
		}
	}
	if g := b.world.Git; g != nil && g.Suspended {
		suspended[g.Part] = true
	}
	for _, p := range b.world.Parts {
		if p.LogFile == "" {
			continue
		}
		e := record.Event{Seen: seen, Kind: record.Part, Name: p.Name, State: string(p.State), Zone: ""}
		when := exact(p.Since)
		switch {
		case suspended[p.Name]:
			e.State, e.Reason, when = "stopped", "suspended: its connections are open and silent", instant{}
		case p.State == "waiting":
			e.State = "starting"
		case p.State == "ready" && p.PID == 0:
			e.State, e.Reason = "stopped", "its program ended"
		case p.State == "ready" && b.state(record.Part, p.Name) == "stopped":
			e.Reason = "its program runs again"
		}
		if known := b.restarts[p.Name]; known != p.Restarts && e.State == "ready" && b.state(record.Part, p.Name) == "ready" {
			// It ended and came back between two looks.
			ended := e
			ended.State, ended.Reason = "stopped", "its program ended"
			b.tell(ended, when)
			e.Reason = "its program runs again"
		}
		b.restarts[p.Name] = p.Restarts
		b.turn(e, when)
	}
}

// partsUnready are parts that are not as they should be, with their state.
func partsUnready(s ground.WorldStatus) map[string]string {
	unready := map[string]string{}
	for _, p := range s.Parts {
		switch {
		case p.State != "ready":
			unready[p.Name] = string(p.State)
		case p.LogFile != "" && p.PID == 0:
			unready[p.Name] = "not running"
		}
	}
	return unready
}
