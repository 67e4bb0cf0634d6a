package cloud

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/nines-ha/nines/ground/balancer"
)

// loadBalancers answers the service controller.
type loadBalancers struct {
	fabric    Fabric
	balancers Balancers
	frontends *frontends
	probes    ProbeMode
	zoned     bool
	log       *slog.Logger

	mu     sync.Mutex
	active map[string]*corev1.LoadBalancerStatus // by balancer name
}

func (l *loadBalancers) GetLoadBalancerName(_ context.Context, _ string, service *corev1.Service) string {
	return balancerName(service)
}

func (l *loadBalancers) GetLoadBalancer(_ context.Context, _ string, service *corev1.Service) (*corev1.LoadBalancerStatus, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	status, found := l.active[balancerName(service)]
	return status.DeepCopy(), found, nil
}

func (l *loadBalancers) EnsureLoadBalancer(ctx context.Context, _ string, service *corev1.Service, nodes []*corev1.Node) (*corev1.LoadBalancerStatus, error) {
	b, err := wants(service, l.probes)
	if err != nil {
		return nil, err
	}
	ask, err := addressOf(service)
	if err != nil {
		return nil, err
	}
	if b.Frontend, err = l.frontends.take(ask); err != nil {
		return nil, fmt.Errorf("service %s: %w", b.Name, err)
	}
	backends, err := l.backends(ctx, nodes)
	if err != nil {
		return nil, err
	}
	if err := l.balancers.Apply(ctx, b, backends); err != nil {
		return nil, err
	}
	status := statusOf(b)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.active[b.Name] = status
	l.log.Info("load balancer", "service", b.Name, "frontend", b.Frontend, "backends", len(backends))
	return status.DeepCopy(), nil
}

// UpdateLoadBalancer is about nodes alone, but the Service is at hand.
func (l *loadBalancers) UpdateLoadBalancer(ctx context.Context, cluster string, service *corev1.Service, nodes []*corev1.Node) error {
	_, err := l.EnsureLoadBalancer(ctx, cluster, service, nodes)
	return err
}

func (l *loadBalancers) EnsureLoadBalancerDeleted(ctx context.Context, _ string, service *corev1.Service) error {
	name := balancerName(service)
	if err := l.balancers.Remove(ctx, name); err != nil {
		return err
	}
	l.frontends.release(name)
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.active, name)
	return nil
}

// backends are the machines of nodes, also of those that are off: a stopped
// machine stays in the pool and fails its probe.
func (l *loadBalancers) backends(ctx context.Context, nodes []*corev1.Node) ([]balancer.Backend, error) {
	all, err := l.fabric.Machines(ctx)
	if err != nil {
		return nil, fmt.Errorf("list machines: %w", err)
	}
	byID := map[string]Machine{}
	for _, machine := range all {
		byID[machine.ProviderID] = machine
	}
	var backends []balancer.Backend
	for _, node := range nodes {
		machine, found := byID[node.Spec.ProviderID]
		if !found {
			continue // not initialised yet, or deleted
		}
		backend := balancer.Backend{Node: node.Name, Address: machine.Address}
		if l.zoned {
			backend.Zone = machine.Zone
		}
		backends = append(backends, backend)
	}
	return backends, nil
}

func addressOf(service *corev1.Service) (request, error) {
	r := &reader{service: service}
	ask := request{service: balancerName(service), internal: r.flag(AnnotationInternal), wanted: r.address(AnnotationIPv4)}
	if len(r.problems) > 0 {
		return request{}, fmt.Errorf("service %s: %w", ask.service, r.problems[0])
	}
	if old := service.Spec.LoadBalancerIP; old != "" && !ask.wanted.IsValid() {
		a, err := netip.ParseAddr(old)
		if err != nil || !a.Is4() {
			return request{}, fmt.Errorf("service %s: loadBalancerIP %q is not an IPv4 address", ask.service, old)
		}
		ask.wanted = a
	}
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(ingress.IP); err == nil {
			ask.current = a
		}
	}
	return ask, nil
}

// statusOf says VIP: packets arrive at the node with the frontend as destination.
func statusOf(b balancer.Balancer) *corev1.LoadBalancerStatus {
	vip := corev1.LoadBalancerIPModeVIP
	return &corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: b.Frontend.String(), IPMode: &vip}}}
}
