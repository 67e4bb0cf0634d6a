// Package drill breaks a running system under load and accounts for every
// request. Choose from All, fill a Plan and call Run: it checks that everything
// is in order, sends load, injects the fault, heals it, reads back what was
// written, and leaves a record whose verdict is claim.Judge's. The rooms below
// do the work: load sends, fault breaks, watch looks, claim judges, report
// shows. The package knows no API of a service: what is sent is the caller's.
package drill

import (
	"time"

	"github.com/nines-ha/nines/drill/fault"
	"github.com/nines-ha/nines/record"
)

// A Drill is a fault with what is promised while it happens.
type Drill struct {
	fault.Fault
	Window time.Duration // that is judged, from the moment the fault begins
	Peak   float64       // of an overload, in multiples of what the service serves; 0: the load is the plan's

	promise func(p *record.Promise, s record.Service)
	steer   float64 // share of the requests that carry the headers of each service that has some
}

// graceful is what an orderly change may cost: nothing.
const graceful = 100 * time.Millisecond

// answer is how long anybody may be kept waiting for an answer of some kind. The
// slowest operation of a service has two seconds.
const answer = 2500 * time.Millisecond

// All are the drills there are, in the order in which a suite runs them.
func All() []Drill {
	promises := map[string]Drill{
		"pod-kill": {Window: 30 * time.Second, promise: func(p *record.Promise, s record.Service) {
			p.P99, p.Restored, p.Capacity = least(p.P99, graceful), true, 1
		}},
		"node-loss":      {Window: 60 * time.Second, promise: lost},
		"node-hang":      {Window: 60 * time.Second, promise: lost},
		"zone-loss":      {Window: 60 * time.Second, promise: lost},
		"zone-partition": {Window: 60 * time.Second, promise: lost},
		"node-drain": {Window: 75 * time.Second, promise: func(p *record.Promise, s record.Service) {
			orderly(p)
			p.Capacity, p.Restored = s.Least, true
		}},
		"rolling-restart": {Window: 90 * time.Second, promise: func(p *record.Promise, s record.Service) {
			orderly(p)
			p.Capacity, p.Restored = s.Least, true
		}},
		"scale-down":     {Window: 45 * time.Second, promise: func(p *record.Promise, _ record.Service) { orderly(p) }},
		"zone-return":    {Window: 30 * time.Second, promise: func(p *record.Promise, _ record.Service) { p.Failed = new(int) }},
		"apiserver-loss": {Window: 30 * time.Second, promise: func(p *record.Promise, _ record.Service) { p.Failed = new(int) }},
		"database-restart": {Window: 30 * time.Second, promise: func(p *record.Promise, _ record.Service) {
			p.Answer = answer
		}},
		"database-stall": {Window: 30 * time.Second, promise: func(p *record.Promise, _ record.Service) {
			// While nothing can be stored, what counts is that nobody is kept waiting.
			p.Availability, p.P50, p.P95, p.P99, p.Answer = 0, 0, 0, 0, answer
		}},
		"overload": {Window: 45 * time.Second, Peak: 5, promise: func(p *record.Promise, _ record.Service) {
			// Most is refused, as it must be.
			p.Availability, p.P50, p.P95, p.P99 = 0, 0, 0, 0
			p.Goodput, p.Refusal, p.Attempts, p.Recovery = 0.8, 100*time.Millisecond, 1.2, 5*time.Second
		}},
		"gray-pod":           {Window: 30 * time.Second, promise: unwell},
		"slow-pod":           {Window: 30 * time.Second, promise: unwell},
		"stalled-dependency": {Window: 30 * time.Second, promise: unwell},
		"gateway-loss":       {Window: 45 * time.Second, promise: func(p *record.Promise, _ record.Service) { p.Restored = true }},
		"istiod-loss":        {Window: 45 * time.Second, promise: func(p *record.Promise, _ record.Service) { p.Failed = new(int) }},
		"injector-loss": {Window: 120 * time.Second, promise: func(p *record.Promise, s record.Service) {
			p.Failed, p.Meshed = new(int), true
			p.Capacity, p.Restored = s.Least, true
		}},
		"locality": {Window: 75 * time.Second, promise: func(p *record.Promise, _ record.Service) {
			p.Failed, p.Local, p.Restored = new(int), local, true
		}},
		"certificate-rotation": {Window: 90 * time.Second, promise: func(p *record.Promise, _ record.Service) {
			p.Failed, p.Rotated = new(int), rotations
		}},
		"plaintext-probe": {Window: 30 * time.Second, promise: func(p *record.Promise, _ record.Service) {
			p.Failed, p.Refused = new(int), fault.PlaintextProbes
		}},
		"identity-probe": {Window: 30 * time.Second, promise: func(p *record.Promise, _ record.Service) {
			p.Failed, p.Refused = new(int), fault.IdentityProbes
		}},
		"shaping": {Window: 230 * time.Second, promise: shaped, steer: steered},
		"tracing": {Window: 30 * time.Second, promise: func(p *record.Promise, _ record.Service) { p.Traced = traced }},
	}
	var all []Drill
	for _, f := range fault.All() {
		d := promises[f.Name]
		d.Fault = f
		all = append(all, d)
	}
	return all
}

func orderly(p *record.Promise) {
	p.Failed, p.P99 = new(int), least(p.P99, graceful)
}

// ejected is how long a pod that is unwell may go on being asked.
const ejected = 5 * time.Second

// traced is how many of the requests that ask for it have one whole trace.
const traced = 0.99

// unwell is of one pod that serves badly while Kubernetes believes it to be well.
func unwell(p *record.Promise, _ record.Service) { p.Ejected = ejected }

// local is the share of calls that do not leave their zone while it has a replica.
const local = 0.95

// rotations are half of the certificates that a proxy gets in the window, one each
// quarter of a minute.
const rotations = 3

func lost(p *record.Promise, _ record.Service) { p.Restored, p.Capacity = true, 1 }

func least(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// Find is the drill of that name.
func Find(name string) (Drill, error) {
	for _, d := range All() {
		if d.Name == name {
			return d, nil
		}
	}
	_, err := fault.Find(name)
	return Drill{}, err
}

// Promise is what is claimed of a service, from its objective.
func (d Drill) Promise(objective record.Promise, s record.Service) record.Promise {
	p := objective
	p.Slow = objective.P99
	p.Writes, p.Fresh = true, true
	if d.promise != nil {
		d.promise(&p, s)
	}
	return p
}
