package ground

import "time"

// A Clock is a period of the platform that is shorter here than on AKS, so that
// a ground settles in seconds.
type Clock struct {
	Name      string
	Here, AKS time.Duration
	// Missing says that replicas are missing until it has run out; otherwise
	// requests go wrong until then.
	Missing bool
}

// Clocks are all that differ. docs/decisions/0007-ground.md says why.
func Clocks() []Clock {
	return []Clock{
		{Name: "node-monitor-grace-period", Here: 10 * time.Second, AKS: 50 * time.Second, Missing: true},
		{Name: "kubelet nodeStatusUpdateFrequency", Here: 2 * time.Second, AKS: 10 * time.Second, Missing: true},
		{Name: "load balancer probe until the first success", Here: 500 * time.Millisecond, AKS: 5 * time.Second, Missing: true},
	}
}
