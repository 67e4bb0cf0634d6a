// Package watch tells what a cluster and the ground below it do while a drill
// runs, as events of the record. Call Start before the load and Stop after it;
// Unsteady says what is not in order. It changes nothing and judges nothing.
package watch

import (
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/record"
)

// Config says what to watch.
type Config struct {
	Kube      kubernetes.Interface
	Ground    *ground.Client // nil: not a ground, and no events of machines, zones, backends and parts
	Region    string
	Namespace string
	Service   string
	Started   time.Time // instants are told relative to it
	Tell      func(record.Event)
}
