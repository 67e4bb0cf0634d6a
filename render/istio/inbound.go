package istio

import (
	"google.golang.org/protobuf/types/known/durationpb"
	networkingapi "istio.io/api/networking/v1alpha3"

	"github.com/nines-ha/nines/system"
)

// inboundPool is how a replica's own proxy treats it. Istio would give it the
// limits of the proxies that call, of which there are several: what they send
// together would be refused with 503, and three of these take the replica out. What
// is too much for one route a replica says itself, with 429.
func (m mesh) inboundPool(service system.Service) *networkingapi.ConnectionPoolSettings {
	most := int32(system.RouteRequests * max(len(service.Operations), 1))
	return &networkingapi.ConnectionPoolSettings{
		Tcp: &networkingapi.ConnectionPoolSettings_TCPSettings{
			MaxConnections: most,
			ConnectTimeout: durationpb.New(m.connectTimeout(service)),
		},
		Http: &networkingapi.ConnectionPoolSettings_HTTPSettings{
			Http1MaxPendingRequests: most,
			Http2MaxRequests:        most,
			IdleTimeout:             durationpb.New(idleTimeout),
		},
	}
}
