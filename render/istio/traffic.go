package istio

import (
	"slices"
	"strings"

	networkingapi "istio.io/api/networking/v1alpha3"

	"github.com/nines-ha/nines/system"
)

// A request is shared at the proxy that sends it: the gateway's or its caller's.
// The others need not know.

// sharers are the services of whose traffic a service gets a share.
func (m mesh) sharers(service system.Service) []system.Service {
	return slices.DeleteFunc(slices.Clone(m.system.Services), func(other system.Service) bool {
		return !slices.ContainsFunc(other.Traffic, func(share system.Share) bool { return share.Name == service.Name })
	})
}

// reached are the services that the proxy of a service must know: those that
// are called, and those that get a share of what is sent to them.
func (m mesh) reached(service system.Service) []system.Name {
	reached := slices.Clone(service.Calls)
	for _, call := range service.Calls {
		called, _ := m.system.Service(string(call))
		for _, share := range called.Traffic {
			if !slices.Contains(reached, share.Name) {
				reached = append(reached, share.Name)
			}
		}
	}
	return reached
}

// byHeader is a route for those of its requests that carry a share's headers.
func (m mesh) byHeader(r route, share system.Share) route {
	r.name += "-to-" + string(share.Name)
	match := &networkingapi.HTTPMatchRequest{}
	if len(r.match) > 0 {
		match.Method, match.Uri = r.match[0].Method, r.match[0].Uri
	}
	match.Headers = map[string]*networkingapi.StringMatch{}
	for name, value := range share.Header {
		// Istio compares names as they are written, and a proxy writes them small.
		match.Headers[strings.ToLower(name)] = &networkingapi.StringMatch{MatchType: &networkingapi.StringMatch_Exact{Exact: value}}
	}
	r.match = []*networkingapi.HTTPMatchRequest{match}
	return r
}

func (m mesh) to(service system.Name, weight int) *networkingapi.HTTPRouteDestination {
	return &networkingapi.HTTPRouteDestination{Destination: m.at(service), Weight: int32(weight)}
}

func (m mesh) at(service system.Name) *networkingapi.Destination {
	return &networkingapi.Destination{Host: m.host(service), Port: &networkingapi.PortSelector{Number: servicePort}}
}

// destinations share what no header sends elsewhere. Which one a request gets
// is drawn once: its retries go to the same.
func (m mesh) destinations(service system.Service) []*networkingapi.HTTPRouteDestination {
	if service.Canary.On() {
		return m.versions(service)
	}
	rest := service.Rest().Whole()
	if rest == 100 {
		return []*networkingapi.HTTPRouteDestination{m.to(service.Name, 0)}
	}
	var list []*networkingapi.HTTPRouteDestination
	if rest > 0 {
		list = append(list, m.to(service.Name, rest))
	}
	for _, share := range service.Traffic {
		if share.Weight > 0 {
			list = append(list, m.to(share.Name, share.Weight.Whole()))
		}
	}
	return list
}

// mirrors get copies, which a proxy sends once, drops the answers of and counts
// against the limits of who gets them: those of the others do not shrink.
func (m mesh) mirrors(service system.Service) []*networkingapi.HTTPMirrorPolicy {
	var list []*networkingapi.HTTPMirrorPolicy
	for _, share := range service.Traffic {
		if share.Mirror > 0 {
			list = append(list, &networkingapi.HTTPMirrorPolicy{
				Destination: m.at(share.Name),
				Percentage:  &networkingapi.Percent{Value: share.Mirror.Percent()},
			})
		}
	}
	return list
}
