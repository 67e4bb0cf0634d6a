// Package fault breaks a running system in named ways and mends it again. Find
// a Fault in All, Prepare an Injection for a Site, show what that Touches, hand
// its Heals to a Healer, and only then Inject. What heals is plain data in a
// process of its own, so that it happens even when this process is killed. The
// package sends no load and judges nothing.
package fault

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/record"
)

// A Site is where a fault happens.
type Site struct {
	Kube      kubernetes.Interface
	Ground    *ground.Client // nil: a cluster that is not a ground, where only the API can be used
	Access    Access         // how a Healer gets to the same place
	Region    string
	Namespace string
	Service   string         // its Deployment and Service have this name
	Stores    []string       // managed databases, of a ground
	Mesh      bool           // the service is in a service mesh, and its way in is the mesh's gateway
	Path      string         // of a GET that the service answers; "": none is known
	Traffic   []record.Share // what other services get of its requests
	Traces    bool           // the service, and what proxies it has, export traces to the ground
	Seed      uint64         // chooses the victims
	Overload  Overload       // of the fault of that name

	Objects dynamic.Interface // of kinds that Kubernetes itself does not have; nil: none are changed
	Variant string            // of the fault, which a twin is; "": as All says
}

// Access is how another process reaches the Site.
type Access struct {
	Ground     string `json:"ground,omitempty"` // name of the ground
	Kubeconfig string `json:"kubeconfig,omitempty"`
	Context    string `json:"context,omitempty"`
}

// A Fault is one way of breaking a system.
type Fault struct {
	Name   string
	About  [2]string // what is done; what it stands for
	Ground bool      // it needs a proving ground
	Self   bool      // it heals by itself, by what the platform does

	nodes, zones int // that there must be
	store        bool
	mesh         bool
	shares       bool // traffic
	traces       bool
	prepare      func(ctx context.Context, s *scene) (*Injection, error)
}

// Needs are what there must be for the fault to be possible: ground, mesh, store,
// traffic (a service that shares its own), traces.
func (f Fault) Needs() []string {
	needs := []string{}
	for _, one := range []struct {
		name string
		of   bool
	}{{"ground", f.Ground}, {"mesh", f.mesh}, {"store", f.store}, {"traffic", f.shares}, {"traces", f.traces}} {
		if one.of {
			needs = append(needs, one.name)
		}
	}
	return needs
}

// An Injection is a fault with its victims chosen. Nothing has happened yet.
type Injection struct {
	Touches []string // what will be done to what, in order, in words
	Heals   []Heal   // undo all of it, whatever was done, in order; safe to repeat

	// before makes the state in which the fault can happen at all, before the
	// steady state is measured: for zone-return, the zone that is away.
	before action
	inject action
}

// An action does things and tells of each before it begins, or as soon as it is
// known to have happened.
type action func(ctx context.Context, tell func(record.Event)) error

// An ImpossibleError says in one sentence why a fault can never happen at a site,
// whatever is waited for.
type ImpossibleError struct{ Why string }

func (e *ImpossibleError) Error() string { return e.Why }

// Available says in one sentence why the fault cannot happen at a site now, or
// nil; it is an ImpossibleError if it never can.
func (f Fault) Available(s *Site) error {
	ctx, cancel := context.WithTimeout(context.Background(), lookWait)
	defer cancel()
	_, err := f.look(ctx, s)
	return err
}

// Prepare chooses the victims. It touches nothing.
func (f Fault) Prepare(ctx context.Context, s *Site) (*Injection, error) {
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	sc, err := f.look(ctx, s)
	if err != nil {
		return nil, err
	}
	i, err := f.prepare(ctx, sc)
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", f.Name, err)
	}
	return i, nil
}

// Before makes the state that the fault starts from; most start from order and
// do nothing here. It returns when that state is there, or when ctx ends.
func (i *Injection) Before(ctx context.Context, tell func(record.Event)) error {
	return i.before.run(ctx, tell)
}

// Inject does what Touches said and returns when all of it is done: pods are
// gone, a rollout is complete. When ctx ends before, what was done stays done,
// and Heals undo it. tell is called from one goroutine at a time, before what it
// tells of takes effect; when a thing lasts for a time, also when it is over.
func (i *Injection) Inject(ctx context.Context, tell func(record.Event)) error {
	return i.inject.run(ctx, tell)
}

func (a action) run(ctx context.Context, tell func(record.Event)) error {
	if a == nil {
		return nil
	}
	var one sync.Mutex
	return a(ctx, func(e record.Event) {
		one.Lock()
		defer one.Unlock()
		tell(e)
	})
}

// A Heal is one step of undoing, as data.
type Heal struct {
	Do        string        `json:"do"` // power, thaw, plug, join, start, resume, mend, uncordon, autoscale, scale, patch, apply, failurePolicy, enmesh, remove
	Node      string        `json:"node,omitempty"`
	Region    string        `json:"region,omitempty"`
	Zone      int           `json:"zone,omitempty"`
	Part      string        `json:"part,omitempty"` // of the ground, "westeurope/apiserver"
	Namespace string        `json:"namespace,omitempty"`
	Name      string        `json:"name,omitempty"`
	Least     int32         `json:"least,omitempty"`    // of an autoscaler
	Replicas  int32         `json:"replicas,omitempty"` // of a Deployment; at most, of an autoscaler
	Files     []ground.File `json:"files,omitempty"`
	Webhook   string        `json:"webhook,omitempty"` // of the configuration Name
	Policy    string        `json:"policy,omitempty"`  // of Webhook, if nobody answers: Fail, Ignore
	Kind      string        `json:"kind,omitempty"`    // of the object to patch
	Patch     string        `json:"patch,omitempty"`   // that gives it its own settings back
}
