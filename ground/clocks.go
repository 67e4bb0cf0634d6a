package ground

import (
	"time"

	"github.com/nines-ha/nines/ground/kube"
)

// A Clock is a period of the platform that is shorter here than on AKS, so that
// a ground settles in seconds.
type Clock struct {
	Name      string
	Here, AKS time.Duration
	// Delays says what waits until it has run out.
	Delays Delay
}

// A Delay is what a Clock holds up.
type Delay int

const (
	Nothing  Delay = iota // that a request waits for
	Capacity              // replicas are missing until then
)

// Clocks are all that differ. docs/decisions/0007-ground.md says why.
func Clocks() []Clock {
	return []Clock{
		{Name: "node-monitor-grace-period", Here: 10 * time.Second, AKS: 50 * time.Second, Delays: Capacity},
		{Name: "node-monitor-period", Here: time.Second, AKS: 5 * time.Second},
		{Name: "leader election lease", Here: kube.LeaseDuration, AKS: 15 * time.Second},
		{Name: "kubelet nodeStatusUpdateFrequency", Here: 2 * time.Second, AKS: 10 * time.Second, Delays: Capacity},
		{Name: "load balancer probe until the first success", Here: 500 * time.Millisecond, AKS: 5 * time.Second, Delays: Capacity},
	}
}
