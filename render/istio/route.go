package istio

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networkingapi "istio.io/api/networking/v1alpha3"
	networking "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/nines-ha/nines/system"
)

// Conditions in which a proxy tries again.
const (
	// The request has not left the proxy. That is safe for whatever it is.
	unsent = "connect-failure,refused-stream,reset-before-request"
	// The replica, or its proxy, went away with the request.
	broken = unsent + ",reset"
	// reset is also a try that took too long, and 504 what a service says that
	// has seen so first. 503 is what the proxy of a replica says for one that is
	// gone, but also what a service may say that is too busy (one of the library
	// says 429), and the two look the same: the retry budget bounds what becomes of
	// that. What a limit of this proxy refuses is never tried again.
	failed = broken + ",gateway-error"

	// How often is tried again what has not been sent. The second retry is the
	// first that leaves the zone.
	unsentRetries = 2

	retryPause = 25 * time.Millisecond // as system reckons it
)

// gatewayName is that of the system's Gateway.
const gatewayName = "public"

// A route is one HTTP route before it is written down.
type route struct {
	name    string
	match   []*networkingapi.HTTPMatchRequest
	timeout time.Duration
	perTry  time.Duration
	retries int
	retryOn string
}

// routes are one for each operation, the more exact paths first, and one for
// all the rest, of which nothing is known.
//
// Only one hop of a chain retries what has been answered, the one nearest to
// the failure. A service that calls others has, when it answers 503, already
// had its own call retried; so on the hop to it only what shows that it is gone
// itself is tried again, and a try may take all of the time, since it may be
// slow for one that it waits for.
func (m mesh) routes(service system.Service) []route {
	var routes []route
	for _, o := range slices.SortedStableFunc(slices.Values(service.Operations), bySpecificity) {
		r := route{
			name:  name(o.Name),
			match: []*networkingapi.HTTPMatchRequest{match(o.Name)},
			// Nothing but the timeout ends a try: what is retried was not sent.
			timeout: o.Timeout, perTry: o.Timeout, retries: unsentRetries, retryOn: unsent,
		}
		switch {
		case o.Idempotent && m.system.Chained(service):
			r.retryOn = broken
		case o.Idempotent && o.Attempts > 1:
			r.perTry, r.retries, r.retryOn = o.PerTry(), o.Attempts-1, failed
		}
		routes = append(routes, r)
	}
	rest := m.system.Clients.Timeout
	return append(routes, route{name: "rest", timeout: rest, perTry: rest, retries: unsentRetries, retryOn: unsent})
}

// bySpecificity puts a path before those that match all that it matches: these
// have more parameters.
func bySpecificity(a, b system.Operation) int {
	return parameters(a.Name) - parameters(b.Name)
}

func parameters(o system.OperationName) (n int) {
	for _, segment := range o.Segments() {
		if segment == "{}" {
			n++
		}
	}
	return n
}

var word = regexp.MustCompile(`[A-Za-z0-9._~-]+`)

// name is how access logs call a route: get-v1-vehicles-vin.
func name(o system.OperationName) string {
	words := word.FindAllString(string(o), -1)
	return strings.ToLower(strings.Join(words, "-"))
}

func match(o system.OperationName) *networkingapi.HTTPMatchRequest {
	segments := o.Segments()
	path := &networkingapi.StringMatch{MatchType: &networkingapi.StringMatch_Exact{Exact: "/" + strings.Join(segments, "/")}}
	if slices.Contains(segments, "{}") {
		for i, s := range segments {
			if s = regexp.QuoteMeta(s); segments[i] == "{}" {
				s = "[^/]+"
			}
			segments[i] = s
		}
		path.MatchType = &networkingapi.StringMatch_Regex{Regex: "/" + strings.Join(segments, "/")}
	}
	return &networkingapi.HTTPMatchRequest{
		Method: &networkingapi.StringMatch{MatchType: &networkingapi.StringMatch_Exact{Exact: o.Method()}},
		Uri:    path,
	}
}

func (m mesh) http(service system.Service) []*networkingapi.HTTPRoute {
	var list []*networkingapi.HTTPRoute
	for _, r := range m.routes(service) {
		for _, share := range service.Traffic {
			if len(share.Header) > 0 {
				list = append(list, m.byHeader(r, share).written(m.to(share.Name, 0)))
			}
		}
		route := r.written(m.destinations(service)...)
		route.Mirrors = m.mirrors(service)
		list = append(list, route)
	}
	return list
}

// written is the route as the mesh reads it.
func (r route) written(to ...*networkingapi.HTTPRouteDestination) *networkingapi.HTTPRoute {
	return &networkingapi.HTTPRoute{
		Name:    r.name,
		Match:   r.match,
		Route:   to,
		Timeout: durationpb.New(r.timeout),
		Retries: &networkingapi.HTTPRetry{
			Attempts:      int32(r.retries),
			PerTryTimeout: durationpb.New(r.perTry),
			RetryOn:       r.retryOn,
			Backoff:       durationpb.New(retryPause),
			// Else a zone whose only replica is gone would be tried in vain
			// until that replica has been taken out.
			RetryRemoteLocalities: wrapperspb.Bool(true),
		},
	}
}

// inside is how services reach a service. It is apart from outside because one
// that is bound to the mesh may not be for every host.
func (m mesh) inside(service system.Service) *networking.VirtualService {
	return &networking.VirtualService{
		TypeMeta:   typed("networking", "VirtualService"),
		ObjectMeta: m.meta(service),
		Spec: networkingapi.VirtualService{
			Hosts:    []string{m.host(service.Name)},
			ExportTo: []string{"."},
			Http:     m.http(service),
		},
	}
}

// outside is how those outside reach it, through the gateway.
func (m mesh) outside(service system.Service) *networking.VirtualService {
	meta := m.meta(service)
	meta.Name = publicName(service)
	return &networking.VirtualService{
		TypeMeta:   typed("networking", "VirtualService"),
		ObjectMeta: meta,
		Spec: networkingapi.VirtualService{
			Hosts:    []string{publicHost(service)},
			Gateways: []string{gatewayName},
			ExportTo: []string{".", IngressNamespace},
			Http:     m.http(service),
		},
	}
}

func publicHost(service system.Service) string {
	if service.Host == "" {
		return "*"
	}
	return string(service.Host)
}

// gateway opens port 80 of the add-on's gateway for the public services; there
// is none without any.
func (m mesh) gateway() *networking.Gateway {
	var hosts []string
	for _, service := range m.system.Services {
		if service.Expose != system.Hidden {
			hosts = append(hosts, publicHost(service))
		}
	}
	if len(hosts) == 0 {
		return nil
	}
	return &networking.Gateway{
		TypeMeta:   typed("networking", "Gateway"),
		ObjectMeta: m.common(m.namespace(), gatewayName),
		Spec: networkingapi.Gateway{
			Selector: map[string]string{"istio": Ingress},
			Servers: []*networkingapi.Server{{
				Port:  &networkingapi.Port{Number: 80, Name: "http", Protocol: "HTTP"},
				Hosts: hosts,
			}},
		},
	}
}
