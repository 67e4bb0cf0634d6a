package watch

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
)

// A crew is a Service with what stands behind it.
type crew struct {
	kind            string // of the events of its endpoints
	namespace, name string
	pods            map[string]*pod
	slices          map[string]map[string]endpoint // by slice and pod
	endpoints       map[string]endpoint            // by pod, over all slices
	deployments     []*appsv1.Deployment           // one, or none if it is gone; a gateway that is being replaced has two
	asked           time.Time                      // for the deployments
}

func newCrew(kind, namespace, name string) *crew {
	return &crew{kind: kind, namespace: namespace, name: name, pods: map[string]*pod{}, slices: map[string]map[string]endpoint{}, endpoints: map[string]endpoint{}}
}

// crews are all that is followed.
func (b *book) crews() []*crew {
	if b.gateway == nil {
		return []*crew{b.service}
	}
	return []*crew{b.service, b.gateway}
}

// front is where the load balancer sends what clients ask.
func (b *book) front() *crew {
	if b.gateway != nil {
		return b.gateway
	}
	return b.service
}

// wanted is how many replicas there should be.
func (c *crew) wanted() (n int) {
	for _, d := range c.deployments {
		n += int(wanted(d))
	}
	return n
}

func (c *crew) ready() (n int) {
	for _, e := range c.endpoints {
		if e.state == "ready" {
			n++
		}
	}
	return n
}

func wanted(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}
