package system

import "fmt"

// Limits are what one proxy sends a service at once. There are as many proxies
// as gateways and replicas of callers, and each counts for itself.
type Limits struct {
	Connections int `yaml:"connections" jsonschema:"minimum=1,maximum=100000" example:"connections: 256" jsonschema_description:"Connections. As many as requests, if nothing is said: over HTTP/1.1 each request has one."`
	Pending     int `yaml:"pending" jsonschema:"minimum=1,maximum=100000" example:"pending: 64" jsonschema_description:"Requests that wait for a connection. A quarter of the requests, if nothing is said."`
	Requests    int `yaml:"requests" jsonschema:"minimum=1,maximum=100000" example:"requests: 256" jsonschema_description:"Requests under way. What a third of the replicas (of the most there may be) answers at once, 256 each, if nothing is said."`
}

// RouteRequests is how many requests a route of the service library answers at
// once; it sheds the rest.
const RouteRequests = 256

const (
	// A gateway has a proxy in each of three zones.
	proxies      = 3
	pendingShare = 4
)

func (l *Limits) finish(replicas Range) {
	if l.Requests == 0 {
		l.Requests = max(RouteRequests*replicas.Max/proxies, 1)
	}
	if l.Connections == 0 {
		l.Connections = l.Requests
	}
	if l.Pending == 0 {
		l.Pending = max(l.Requests/pendingShare, 1)
	}
}

func (d *decoder) checkLimits(at func(...string) string, l Limits) {
	if l.Connections < l.Requests && d.given(at("limits", "connections")) {
		d.reportAt(at("limits", "connections"), fmt.Sprintf("%d connections cannot carry %d requests at once: over HTTP/1.1 each request has one", l.Connections, l.Requests), fmt.Sprintf("connections: %d", l.Requests))
	}
}
