package claim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nines-ha/nines/internal/wording"
	"github.com/nines-ha/nines/record"
)

// informed is how long after a change of its replicas a zone is not counted: a
// mesh's control plane gathers changes before it tells its proxies, for 10 s at
// most. A new replica that is alone in its zone has all of its calls at once; that
// it is warmed up divides calls within a zone only.
const informed = 5 * time.Second

// fewestCalls is how many calls tell something about a share.
const fewestCalls = 30

// calls are those of which it was to be expected that they stay in their zone.
type calls struct{ stayed, left, unknown int }

func (c calls) known() int { return c.stayed + c.left }

func (c calls) share() float64 { return float64(c.stayed) / float64(max(c.known(), 1)) }

// judge holds calls against a share, with the unknown ones for and against it.
func (c calls) judge(share float64) Outcome {
	all := float64(c.known() + c.unknown)
	switch {
	case c.known() < fewestCalls:
		return Inconclusive
	case float64(c.stayed) >= share*all:
		return Held
	case float64(c.stayed+c.unknown) < share*all:
		return Refuted
	}
	return Inconclusive
}

// local is about where calls were answered whose zone had a replica all the while:
// in the zone of the gateway that took them, or in another. It is about first
// attempts of clients; whether a call was answered at all is for other claims. The
// zone that was without replicas must have its calls back by itself, since it is a
// small part of all.
func (q *inquiry) local(share float64, add adder) {
	want := fmt.Sprintf("≥ %s %% in their zone", wording.Decimal(share*100, 6))
	open := func(got string) { add("local", want, got, false).Outcome = Inconclusive }
	if !q.injected || !q.history.gated() {
		open("it is not known in which zone calls begin")
		return
	}
	ready := q.readyByZone()
	gaps := q.gaps(ready)
	all, back := q.countLocal(ready, gaps)
	got := fmt.Sprintf("%s of %s", wording.Share(all.share()), wording.Count(all.known()))
	switch {
	case all.known() < fewestCalls:
		open(fmt.Sprintf("the zones at both ends are known of %s", wording.Several(all.known(), "call", "calls")))
		return
	case all.judge(share) == Refuted:
		add("local", want, got, false)
		return
	case len(gaps) == 0:
		open(got + ", but no zone was without a replica and had one again in the window")
		return
	}
	var were []string
	for _, zone := range slices.Sorted(maps.Keys(gaps)) {
		were = append(were, fmt.Sprintf("%s had no replica for %s", zone, lasting(gaps[zone].length())))
	}
	got += fmt.Sprintf(", home again %s of %s: %s, and counts from %s after", wording.Share(back.share()), wording.Count(back.known()), strings.Join(were, " and "), exactly(informed))
	switch outcome := back.judge(share); {
	case outcome == Refuted:
		add("local", want, got, false)
	case outcome == Inconclusive, all.judge(share) == Inconclusive:
		if unknown := max(all.unknown, back.unknown); unknown > 0 {
			got += fmt.Sprintf("; the zones of %s are not known", wording.Count(unknown))
		}
		open(got)
	default:
		add("local", want, got, true)
	}
}

// readyByZone counts the ready replicas of each zone.
func (q *inquiry) readyByZone() map[string][]step {
	steps, now, ready := map[string][]step{}, map[string]string{}, map[string]int{}
	for _, e := range q.events {
		zone := q.history.zones[q.history.homes[e.Name]]
		if e.Kind != record.Endpoint || zone == "" {
			continue
		}
		if now[e.Name] == "ready" {
			ready[zone]--
		}
		if now[e.Name] = e.State; e.State == "ready" {
			ready[zone]++
		}
		steps[zone] = put(steps[zone], e.At, ready[zone])
	}
	return steps
}

// gaps are the last stretches in the window in which zones that had replicas had
// none, if they then had some for good.
func (q *inquiry) gaps(ready map[string][]step) map[string]span {
	gaps := map[string]span{}
	for zone, steps := range ready {
		var gap span
		for i, s := range steps {
			if i == 0 || s.at < q.window.from {
				continue
			}
			switch before := steps[i-1].n; {
			case s.n == 0 && before > 0:
				gap = span{s.at, forever}
			case s.n > 0 && before == 0 && gap.from > 0:
				gap.to = s.at
			}
		}
		if gap.from > 0 && gap.to < q.window.to {
			gaps[zone] = gap
		}
	}
	return gaps
}

// countLocal counts the calls of the run whose zone had a replica all the while,
// and those of zones that have one again by themselves.
func (q *inquiry) countLocal(ready map[string][]step, gaps map[string]span) (all, back calls) {
	for _, r := range q.attempts {
		if r.Of != "" || r.Scheduled < q.warm || r.Failed() {
			continue
		}
		_, door := q.ways.doorOf(r.Conn)
		from, to := q.history.zones[door], q.answeredIn(r)
		if from == "" {
			all.unknown++
			continue
		}
		if n, _ := fewest(ready[from], span{r.Scheduled - informed, r.Done}); n == 0 {
			continue
		}
		counted := []*calls{&all}
		if gap, was := gaps[from]; was && r.Scheduled >= gap.to+informed {
			counted = append(counted, &back)
		}
		for _, c := range counted {
			switch to {
			case "":
				c.unknown++
			case from:
				c.stayed++
			default:
				c.left++
			}
		}
	}
	return all, back
}

// answeredIn is the zone of the replica that answered; "": not known.
func (q *inquiry) answeredIn(r *record.Request) string {
	return cmp.Or(r.Zone, q.history.zones[cmp.Or(r.Node, q.history.homes[r.Pod])])
}

// local asks for a replica in each zone, where there cannot be one, and otherwise
// for a mesh that looks at zones.
func (f *fixer) local(c Claim) {
	if zones := f.zonesCount(); f.Header.Service.Replicas < zones {
		f.add(f.service+".scale.replicas", fmt.Sprintf("%d, one in each zone: with fewer, calls go to all replicas alike", zones), c.Got)
		return
	}
	f.add("", "a mesh that keeps calls in their zone (localityLbSetting)"+noField, c.Got)
}
