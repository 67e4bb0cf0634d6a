package watch

import (
	"context"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kwatch "k8s.io/apimachinery/pkg/watch"

	"github.com/nines-ha/nines/record"
)

// An endpoint is one place where the service is served.
type endpoint struct{ state, node, zone string }

func (w *Watch) slices(c *crew) source {
	api := w.Kube.DiscoveryV1().EndpointSlices(c.namespace)
	selector := discoveryv1.LabelServiceName + "=" + c.name
	return source{
		name: "endpoints of " + c.name,
		list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = selector
			return api.List(ctx, o)
		},
		watch: func(ctx context.Context, o metav1.ListOptions) (kwatch.Interface, error) {
			o.LabelSelector = selector
			return api.Watch(ctx, o)
		},
		all: func(b *book, items []runtime.Object, seen time.Duration) {
			clear(c.slices)
			for _, item := range items {
				s := item.(*discoveryv1.EndpointSlice)
				c.slices[s.Name] = endpointsOf(s)
			}
			b.mergeSlices(c, seen)
		},
		one: func(b *book, item runtime.Object, seen time.Duration) {
			s := item.(*discoveryv1.EndpointSlice)
			c.slices[s.Name] = endpointsOf(s)
			b.mergeSlices(c, seen)
		},
		gone: func(b *book, item runtime.Object, seen time.Duration) {
			delete(c.slices, item.(*discoveryv1.EndpointSlice).Name)
			b.mergeSlices(c, seen)
		},
	}
}

// endpointsOf are a slice's endpoints by the name of the pod, or by the address
// where there is none.
func endpointsOf(s *discoveryv1.EndpointSlice) map[string]endpoint {
	all := map[string]endpoint{}
	for _, e := range s.Endpoints {
		var name string
		switch {
		case e.TargetRef != nil:
			name = e.TargetRef.Name
		case len(e.Addresses) > 0:
			name = e.Addresses[0]
		}
		is := func(condition *bool, unknown bool) bool {
			if condition == nil {
				return unknown
			}
			return *condition
		}
		now := endpoint{state: "unready"}
		ready := is(e.Conditions.Ready, true)
		switch {
		case is(e.Conditions.Terminating, false):
			if is(e.Conditions.Serving, ready) {
				now.state = "terminating"
			}
		case ready:
			now.state = "ready"
		}
		if e.NodeName != nil {
			now.node = *e.NodeName
		}
		if e.Zone != nil {
			now.zone = *e.Zone
		}
		all[name] = now
	}
	return all
}

// mergeSlices tells what the slices together say. An endpoint may for a moment
// be in two of them.
func (b *book) mergeSlices(c *crew, seen time.Duration) {
	rank := map[string]int{"unready": 1, "terminating": 2, "ready": 3}
	now := map[string]endpoint{}
	for _, slice := range c.slices {
		for name, e := range slice {
			if rank[e.state] > rank[now[name].state] {
				now[name] = e
			}
		}
	}
	event := func(name string, e endpoint) record.Event {
		return record.Event{Seen: seen, Kind: c.kind, Name: name, State: e.state, Node: e.node, Zone: e.zone}
	}
	for _, name := range sorted(c.endpoints) {
		if _, there := now[name]; !there {
			gone := c.endpoints[name]
			gone.state = "gone"
			b.end(event(name, gone))
		}
	}
	for _, name := range sorted(now) {
		b.turn(event(name, now[name]), instant{})
	}
	c.endpoints = now
}
