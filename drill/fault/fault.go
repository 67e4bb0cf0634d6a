// Package fault breaks a running system in named ways and mends it again. Find
// a Fault in All, Prepare an Injection for a Site, show what that Touches, hand
// its Heals to a Healer, and only then Inject. What heals is plain data in a
// process of its own, so that it happens even when this process is killed. The
// package sends no load and judges nothing.
package fault

import (
	"context"

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
	Service   string   // its Deployment and Service have this name
	Stores    []string // managed databases, of a ground
	Seed      uint64   // chooses the victims
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

	prepare func(ctx context.Context, s *Site) (*Injection, error)
}

// An Injection is a fault with its victims chosen. Nothing has happened yet.
type Injection struct {
	Touches []string // what will be done to what, in order, in words
	Heals   []Heal   // undo all of it, whatever was done, in order; safe to repeat

	// before makes the state in which the fault can happen at all, before the
	// steady state is measured: for zone-return, the zone that is away.
	before func(ctx context.Context, tell func(record.Event)) error
	inject func(ctx context.Context, tell func(record.Event)) error
}

// A Heal is one step of undoing, as data.
type Heal struct {
	Do        string        `json:"do"` // power, thaw, plug, join, uncordon, scale, apply
	Node      string        `json:"node,omitempty"`
	Region    string        `json:"region,omitempty"`
	Zone      int           `json:"zone,omitempty"`
	Namespace string        `json:"namespace,omitempty"`
	Name      string        `json:"name,omitempty"`
	Replicas  int32         `json:"replicas,omitempty"`
	Files     []ground.File `json:"files,omitempty"`
}
