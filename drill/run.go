package drill

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/nines-ha/nines/drill/fault"
	"github.com/nines-ha/nines/drill/load"
	"github.com/nines-ha/nines/drill/watch"
	"github.com/nines-ha/nines/record"
)

// A Plan is all that a run needs to know.
type Plan struct {
	Drill     Drill
	Site      fault.Site
	Objective record.Promise // of the system, before what the drill makes of it
	System    string
	Program   string // version
	Twin      string
	Gateway   *watch.Gateway  // the way in of a mesh; nil: clients reach the service itself
	Meant     *record.Service // what the promise is made for; nil: the service as it is
	Clocks    []record.Clock

	// What is sent, and how. Dial reaches Address from outside the regions.
	Address  string
	Traffic  load.Traffic
	Source   string
	Mix      map[string]float64
	Rate     float64   // requests a second
	Steps    []float64 // of equal parts of the window; none: Rate
	Arrivals load.Arrivals
	Clients  int
	Deadline time.Duration // of a request with all its attempts
	Retry    load.Retry
	Sample   float64 // share of the requests that ask to be traced; all do where traces are promised
	Dial     func(ctx context.Context, client int) (net.Conn, error)

	// ReadBack tells all that is stored of what was sent. Without it no verdict
	// about writes is possible, and none is promised.
	ReadBack func(ctx context.Context, tell func(record.Stored)) error

	Warm, Steady time.Duration        // before the fault
	Record       string               // file to write
	Announce     func(*record.Header) // what will be touched, before anything is
	Progress     func(Progress)       // once a second, and at each turn
}

// Bounds of what a run waits for.
const (
	orderWait = 3 * time.Minute // that all is in order, before and after
	healWait  = 2 * time.Minute
	readWait  = 2 * time.Minute
	aftermath = 5 * time.Second // load after everything is in order again
	overtime  = 3 * time.Minute // of an action that outlasts its window
)

// run is a drill under way.
type run struct {
	Plan
	header    *record.Header
	out       *record.Writer
	watch     *watch.Watch
	injection *fault.Injection
	healer    *fault.Healer
	view      *view
	flows     *flows
	err       struct {
		sync.Mutex
		error
	}
}

// Run carries a drill out and returns when everything is as it was, also when
// ctx ends before. The record is complete then, or tells why it is not. An error
// means that there is no drill to judge: nothing was broken, or what became of it
// could not be written down. The caller holds the site's fault.Lock.
func Run(ctx context.Context, p Plan) (err error) {
	// What is not in order yet is waited for below.
	if impossible, ok := errors.AsType[*fault.ImpossibleError](p.Drill.Available(&p.Site)); ok {
		return impossible
	}
	p.overload()
	started := time.Now()
	r := &run{Plan: p}
	if r.out, err = record.Create(p.Record); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.out.Close()) }()
	r.view = newView(started, p.Progress)
	early := newHold(r.tellEvent)
	r.watch, err = watch.Start(ctx, watch.Config{
		Kube: p.Site.Kube, Ground: p.Site.Ground, Region: p.Site.Region, Namespace: p.Site.Namespace, Service: p.Site.Service,
		Gateway: p.Gateway, Started: started, Tell: early.tell,
	})
	if err != nil {
		return err
	}
	defer r.watch.Stop()
	if err := r.order(ctx); err != nil {
		return fmt.Errorf("nothing was broken, because not everything is in order: %w", err)
	}
	if err := r.spread(ctx); err != nil {
		return err
	}
	if r.injection, err = p.Drill.Prepare(ctx, &p.Site); err != nil {
		return err
	}
	if r.header, err = r.describe(ctx, started); err != nil {
		return err
	}
	if p.Announce != nil {
		p.Announce(r.header)
	}
	if err := r.out.Write(record.Line{Header: r.header}); err != nil {
		return err
	}
	early.release()
	if r.healer, err = fault.StartHealer(ctx, p.Site.Access, r.injection.Heals); err != nil {
		return err
	}
	r.healer.Tell = r.tellEvent
	return r.carryOut(ctx)
}

// order waits until the system is in steady state.
func (r *run) order(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, orderWait)
	defer cancel()
	return r.watch.Await(ctx)
}

// spread undoes what earlier drills have left on a ground: replicas that stand
// together. A twin is left as it is, and so is anybody else's cluster.
func (r *run) spread(ctx context.Context) error {
	if r.Twin != "" || r.Site.Ground == nil {
		return nil
	}
	restarted, err := fault.Spread(ctx, &r.Site, func(name string) {
		r.view.tell(r.view.now(), "will, before the load: restart "+name+", because its replicas do not stand evenly in the zones")
	})
	if err != nil {
		return fmt.Errorf("spread %s over the zones: %w", r.Site.Service, err)
	}
	if !restarted {
		return nil
	}
	return r.order(ctx)
}

func (r *run) describe(ctx context.Context, started time.Time) (*record.Header, error) {
	service, nodes, err := r.watch.Describe(ctx)
	if err != nil {
		return nil, err
	}
	service.Address, service.Traffic = r.Address, r.Site.Traffic
	meant := service
	if r.Meant != nil {
		meant = *r.Meant
	}
	promise := r.Drill.Promise(r.Objective, meant)
	promise.Writes = promise.Writes && r.ReadBack != nil
	promise.Serves = r.Site.Overload.Serves
	steered := load.Steered(r.ways())
	return &record.Header{
		Version: record.Version, Program: r.Program, Drill: r.Drill.Name, Twin: r.Twin, About: r.Drill.About[0],
		Touches: r.injection.Touches, System: r.System, Region: r.Site.Region, Local: r.Site.Ground != nil, Mesh: r.Site.Mesh,
		Started: started, Seed: r.Site.Seed, Service: service, Gateway: r.watch.DescribeGateway(), Nodes: nodes, Stores: r.Site.Stores, Clocks: r.Clocks,
		Load:   record.Load{Rate: r.Rate, Steps: r.Steps, Arrivals: string(r.Arrivals), Clients: r.Clients, Deadline: r.Deadline, Retry: r.Retry.Told(), Mix: r.Mix, Source: r.Source, Steered: steered, Sample: r.sample(promise)},
		Window: record.Window{Length: r.Drill.Window}, Promise: promise,
	}, nil
}

func (p *Plan) sample(promise record.Promise) float64 {
	if promise.Traced > 0 {
		return 1
	}
	return p.Sample
}

// carryOut is the part in which something is broken. Whatever happens in it, the
// heals are carried out and the record is closed.
func (r *run) carryOut(ctx context.Context) error {
	logs, traces := r.readLogs(ctx), r.followSpans(ctx)
	interrupted := r.script(ctx)
	after := context.WithoutCancel(ctx)
	var end record.End
	if interrupted != nil {
		end.Interrupted = interrupted.Error()
		if err := r.heal(after); err != nil {
			end.Interrupted += "; " + err.Error()
		}
	}
	r.healer.Release()
	if interrupted == nil {
		end.ReadBack = r.readBack(after, &end)
		end.Unsteady = append(end.Unsteady, r.watch.Unsteady()...)
	}
	end.Unread = logs(after)
	end.Untraced = traces(after)
	r.watch.Stop() // nothing may be told after the end
	end.At = r.view.now()
	r.tell(record.Line{End: &end})
	return r.failure()
}

// script is the drill itself. Its error says why it did not run to its end.
func (r *run) script(ctx context.Context) error {
	if err := r.injection.Before(ctx, r.tellEvent); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	r.phase(record.Warm, "")
	sending, stop := context.WithCancel(ctx)
	r.flows = followFlows(sending, r.Site, r.tell)
	sent := make(chan error, 1)
	go func() { sent <- r.send(sending) }()
	err := r.underLoad(ctx)
	if err == nil {
		err = pause(ctx, aftermath)
	}
	r.flows.look(context.WithoutCancel(ctx))
	stop()
	err = errors.Join(err, <-sent)
	r.flows.wait()
	return err
}

func (r *run) underLoad(ctx context.Context) error {
	if err := pause(ctx, r.Warm); err != nil {
		return err
	}
	r.phase(record.Steady, "")
	if err := pause(ctx, r.Steady); err != nil {
		return err
	}
	if failed, most := r.view.failures(); failed > 0 {
		return fmt.Errorf("%d requests failed before anything was broken, most with %s: the load is requests to the API of fleet/vehicle, which the service must answer as it is; see \"nines drill show %s\"", failed, most, r.Record)
	}
	r.phase(record.Inject, r.Drill.Name)
	over := time.After(r.Drill.Window)
	action, cancel := context.WithTimeout(ctx, r.Drill.Window+overtime)
	defer cancel()
	if err := r.injection.Inject(action, r.tellEvent); err != nil {
		return fmt.Errorf("inject %s: %w", r.Drill.Name, err)
	}
	r.phase(record.Injected, "")
	select {
	case <-over:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if len(r.injection.Heals) > 0 {
		if err := r.heal(ctx); err != nil {
			return err
		}
	}
	if err := r.order(ctx); err != nil {
		return fmt.Errorf("wait for order afterwards: %w", err)
	}
	r.phase(record.Restored, "")
	return nil
}

func (r *run) heal(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healWait)
	defer cancel()
	r.phase(record.Heal, "")
	if err := r.healer.Heal(ctx); err != nil {
		return fmt.Errorf("heal: %w", err)
	}
	r.phase(record.Healed, "")
	return nil
}

func (r *run) send(ctx context.Context) error {
	traffic := r.Traffic
	if ways := r.ways(); len(ways) > 0 {
		traffic = load.Steer(traffic, r.Clients, r.Site.Seed, ways)
	}
	_, err := load.Run(ctx, load.Config{
		Host: r.Address, Dial: r.Dial, Clients: r.Clients,
		Schedule: r.schedule(),
		Deadline: r.Deadline, Connect: connectTimeout, Retry: r.Retry, Traffic: traffic, Seed: r.Site.Seed, Started: r.header.Started,
		Sample: r.header.Load.Sample,
		Tell: func(request *record.Request) {
			r.view.request(request)
			r.flows.request(request, r.header.Promise.Slow, r.Gateway != nil)
			r.tell(record.Line{Request: request})
		},
		Second: func(s record.Second) {
			r.view.second(s, r.watch.Ready())
			r.tell(record.Line{Second: &s})
		},
	})
	return err
}

// schedule is the rate all along, or in the window its steps. It begins with less:
// connections, and the pools behind them, are not all made at one moment.
func (p *Plan) schedule() load.Schedule {
	s := load.Schedule{Arrivals: p.Arrivals}
	third := p.Warm / 3
	if third > 0 {
		s.Stages = []load.Stage{{Rate: p.Rate / 4, Length: third}, {Rate: p.Rate / 2, Length: third}}
	}
	if n := time.Duration(len(p.Steps)); n > 0 {
		s.Stages = append(s.Stages, load.Stage{Rate: p.Rate, Length: p.Warm + p.Steady - 2*third})
		for _, rate := range p.Steps {
			s.Stages = append(s.Stages, load.Stage{Rate: rate, Length: p.Drill.Window / n})
		}
	}
	s.Stages = append(s.Stages, load.Stage{Rate: p.Rate})
	return s
}

// connectTimeout is how long a client tries to reach the front door.
const connectTimeout = 3 * time.Second

func (r *run) readBack(ctx context.Context, end *record.End) bool {
	if r.ReadBack == nil {
		return false
	}
	r.phase(record.ReadBack, "")
	ctx, cancel := context.WithTimeout(ctx, readWait)
	defer cancel()
	err := r.ReadBack(ctx, func(s record.Stored) { r.tell(record.Line{Stored: &s}) })
	if err != nil {
		end.Unsteady = append(end.Unsteady, "read back: "+err.Error())
	}
	return err == nil
}

func (r *run) phase(name, text string) {
	p := record.Phase{At: r.view.now(), Name: name, Text: text}
	r.view.phase(p)
	r.tell(record.Line{Phase: &p})
}

func (r *run) tellEvent(e record.Event) {
	if e.At == 0 {
		e.At = r.view.now()
	}
	r.view.event(e)
	r.tell(record.Line{Event: &e})
}

// tell keeps the first error: a record that cannot be written proves nothing.
func (r *run) tell(line record.Line) {
	if err := r.out.Write(line); err != nil {
		r.err.Lock()
		defer r.err.Unlock()
		if r.err.error == nil {
			r.err.error = err
		}
	}
}

func (r *run) failure() error {
	r.err.Lock()
	defer r.err.Unlock()
	return r.err.error
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
