package istio

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networkingapi "istio.io/api/networking/v1alpha3"
	networking "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/nines-ha/nines/system"
)

const (
	// A server of the service library closes a connection that is idle for 75
	// seconds. Whoever closes first never meets a request that is on its way.
	idleTimeout = time.Minute

	// The most that is waited for a connection. A lost SYN is sent again after
	// a second, so that more than this waits for the dead only.
	longestConnect = 500 * time.Millisecond

	// Of the requests under way at a proxy, one in five may be a retry, and
	// three always, so that a proxy with little to do can retry at all.
	retryShare       = 20
	retryConcurrency = 3

	gatewayErrors = 3
	ejection      = 30 * time.Second
)

// destination says how each proxy treats the replicas of a service.
//
// Numbers are for each proxy, which knows of no other. No tls: what is between
// two sidecars is mutual TLS by itself, and saying it here could only break it.
func (m mesh) destination(service system.Service) *networking.DestinationRule {
	return &networking.DestinationRule{
		TypeMeta:   typed("networking", "DestinationRule"),
		ObjectMeta: m.meta(service),
		Spec: networkingapi.DestinationRule{
			Host:     m.host(service.Name),
			ExportTo: []string{".", IngressNamespace},
			Subsets:  m.subsets(service),
			TrafficPolicy: &networkingapi.TrafficPolicy{
				LoadBalancer:     m.balancing(service),
				ConnectionPool:   m.pool(service),
				OutlierDetection: m.outliers(),
				RetryBudget: &networkingapi.TrafficPolicy_RetryBudget{
					Percent:             wrapperspb.Double(retryShare),
					MinRetryConcurrency: retryConcurrency,
				},
			},
		},
	}
}

func (m mesh) pool(service system.Service) *networkingapi.ConnectionPoolSettings {
	return &networkingapi.ConnectionPoolSettings{
		Tcp: &networkingapi.ConnectionPoolSettings_TCPSettings{
			MaxConnections: int32(service.Limits.Connections),
			ConnectTimeout: durationpb.New(m.connectTimeout(service)),
			TcpKeepalive:   keepalive(),
		},
		Http: &networkingapi.ConnectionPoolSettings_HTTPSettings{
			Http1MaxPendingRequests: int32(service.Limits.Pending),
			Http2MaxRequests:        int32(service.Limits.Requests), // of HTTP/1.1 too
			IdleTimeout:             durationpb.New(idleTimeout),
			// Between proxies, whatever the service speaks: a try that takes too long
			// then ends a stream, not a connection. A proxy that has to open connections
			// because it is late is later still.
			H2UpgradePolicy: networkingapi.ConnectionPoolSettings_HTTPSettings_UPGRADE,
		},
	}
}

// connectTimeout is at most what one try of any operation has: a try that is
// still connecting does not count as begun, and would else take all the time.
func (m mesh) connectTimeout(service system.Service) time.Duration {
	shortest := longestConnect
	for _, asked := range append(m.sharers(service), service) {
		for _, r := range m.routes(asked) {
			shortest = min(shortest, (r.timeout / time.Duration(1+r.retries)).Truncate(time.Millisecond))
		}
	}
	return shortest
}

// keepalive finds out that a peer is gone without a word in 25 seconds, for
// connections on which nothing is under way.
func keepalive() *networkingapi.ConnectionPoolSettings_TCPSettings_TcpKeepalive {
	return &networkingapi.ConnectionPoolSettings_TCPSettings_TcpKeepalive{
		Time:     durationpb.New(10 * time.Second),
		Interval: durationpb.New(5 * time.Second),
		Probes:   3,
	}
}

// balancing keeps calls in their zone while the zone has replicas that answer,
// and sends them anywhere else when not. Where some zone may have no replica
// at all, its callers would burden one other zone, and load goes to all alike.
// A replica that is new gets its share over half a minute.
func (m mesh) balancing(service system.Service) *networkingapi.LoadBalancerSettings {
	locality := &networkingapi.LocalityLoadBalancerSetting{Enabled: wrapperspb.Bool(false)}
	if m.zones > 1 && service.Scale.Replicas.Min >= m.zones {
		locality = &networkingapi.LocalityLoadBalancerSetting{
			Enabled:          wrapperspb.Bool(true),
			FailoverPriority: []string{corev1.LabelTopologyZone},
		}
	}
	return &networkingapi.LoadBalancerSettings{
		LbPolicy:          &networkingapi.LoadBalancerSettings_Simple{Simple: networkingapi.LoadBalancerSettings_LEAST_REQUEST},
		LocalityLbSetting: locality,
		Warmup: &networkingapi.WarmupConfiguration{
			Duration:       durationpb.New(30 * time.Second),
			MinimumPercent: wrapperspb.Double(10),
		},
	}
}

// outliers takes a replica out that fails three times in a row, for thirty seconds,
// and thirty more each further time. Each proxy counts for itself: of a replica that
// fails every other time it takes 14 requests to see three in a row, and 62 to see
// five, Envoy's own default. Thirty seconds are Envoy's: each return of a replica
// that is still slow costs each proxy three tries that take all of their time, and
// at ten seconds that was more than one request of a hundred (p99 of 453 ms with one
// slow replica of three). One that is well again is missed for longer; the others
// must carry the load without it anyway.
//
// What counts are 502, 503, 504, no connection, a broken one, and no answer in
// time. A 500 does not: a request that always fails would take out one replica
// after the other. Local and external errors are not told apart
// (splitExternalLocalOriginErrors): where they are, each connection that is
// made sets the count of time-outs back to nothing, and a replica that hangs
// behind a sidecar that accepts is never taken out.
func (m mesh) outliers() *networkingapi.OutlierDetection {
	return &networkingapi.OutlierDetection{
		ConsecutiveGatewayErrors: wrapperspb.UInt32(gatewayErrors),
		Consecutive_5XxErrors:    wrapperspb.UInt32(0),
		Interval:                 durationpb.New(time.Second),
		BaseEjectionTime:         durationpb.New(ejection),
		MaxEjectionPercent:       ejectable(m.zones),
	}
}

// ejectable is the share of the replicas that may be out at once: with any
// number of replicas above one at least one, and a whole zone's of several
// zones, but never all. Envoy rounds the number of replicas down.
func ejectable(zones int) int32 {
	if zones == 2 {
		return 67 // two of three, where a zone has two
	}
	return 50
}
