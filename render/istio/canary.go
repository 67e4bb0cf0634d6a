package istio

import (
	networkingapi "istio.io/api/networking/v1alpha3"

	"github.com/nines-ha/nines/system"
)

// A service with a canary is two subsets of one host: what its callers know is
// stable, and what takes over is canary. Argo Rollouts writes which replicas each
// is, and the weights of the routes.
const (
	StableSubset = "stable"
	CanarySubset = "canary"
)

// VirtualServices are the names of those that lead to a service.
func VirtualServices(service system.Service) []string {
	names := []string{string(service.Name)}
	if service.Expose != system.Hidden {
		names = append(names, publicName(service))
	}
	return names
}

func publicName(service system.Service) string {
	return string(service.Name) + "-public"
}

// Weighted are the names of the routes that share between stable and canary, the
// same in each of VirtualServices. What goes elsewhere by a header is not in it.
func Weighted(sys *system.System, service system.Service) []string {
	var names []string
	for _, r := range (mesh{system: sys}).routes(service) {
		names = append(names, r.name)
	}
	return names
}

// versions are what a service answers itself: all of it by what is stable, until
// Argo Rollouts says otherwise.
func (m mesh) versions(service system.Service) []*networkingapi.HTTPRouteDestination {
	stable, canary := m.to(service.Name, 100), m.to(service.Name, 0)
	stable.Destination.Subset, canary.Destination.Subset = StableSubset, CanarySubset
	return []*networkingapi.HTTPRouteDestination{stable, canary}
}

// subsets have the policy of the host. Each is a cluster of its own at a proxy:
// limits, retry budgets and who is left out hold for each by itself, so that a bad
// canary takes neither the room nor the retries of the stable. The limits are not
// less for the canary, since at its last step it answers everything.
func (m mesh) subsets(service system.Service) []*networkingapi.Subset {
	if !service.Canary.On() {
		return nil
	}
	return []*networkingapi.Subset{
		{Name: StableSubset, Labels: m.selector(service)},
		{Name: CanarySubset, Labels: m.selector(service)},
	}
}

// versionStatistics are what a canary is judged by besides, of the services that a
// proxy knows and their subsets: how many answers there were, how long they took,
// how many were 429, with which a replica refuses, and how many a limit of requests
// under way refused, which Envoy counts apart from those that wait. Each is there
// once: what Envoy counts again by zone, or apart for callers from outside, is not
// taken.
const versionStatistics = `^cluster\.outbound\|80\|(stable|canary)?\|[a-z0-9-]+\.[a-z0-9-]+\.svc\.cluster\.local;?\.upstream_rq_(completed|time|429|active_overflow)$`

func (m mesh) statistics() []string {
	for _, service := range m.system.Services {
		if service.Canary.On() {
			return append(statistics[:len(statistics):len(statistics)], versionStatistics)
		}
	}
	return statistics
}
