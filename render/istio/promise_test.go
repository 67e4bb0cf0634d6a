package istio_test

import (
	"fmt"
	"math/rand/v2"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	networkingapi "istio.io/api/networking/v1alpha3"
	networking "istio.io/client-go/pkg/apis/networking/v1"
	security "istio.io/client-go/pkg/apis/security/v1"
	"sigs.k8s.io/yaml"

	"github.com/nines-ha/nines/render"
	"github.com/nines-ha/nines/render/istio"
	"github.com/nines-ha/nines/system"
)

// What holds for whatever is described, held against many descriptions.
func TestPromises(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		text := describe(random)
		sys := parseText(t, text)
		all := readAll(t, renderAll(t, sys))
		for _, problem := range all.problems(sys) {
			t.Errorf("%s in\n%s", problem, text)
		}
		if t.Failed() {
			return
		}
	}
}

func describe(random *rand.Rand) string {
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	var b strings.Builder
	b.WriteString("name: fleet\nregions: {westeurope: {zones: " + pick("1", "2", "3") + "}}\nstores: {telemetry: {postgres: 15}, state: {postgres: 15}}\n" +
		pick("", "traces: {sample: 1%}\n") + pick("", "clients: {timeout: 700ms}", "clients: {attempts: 1, timeout: 10s, deadline: 20s}") + "\nservices:\n")
	calls := []string{"", "calls: [s0]", "calls: [s1]", "calls: [s0, s1, s2]"}
	n := 1 + random.IntN(4)
	// Two that get shares, which themselves share nothing and can be asked anything.
	for _, name := range []string{"next", "shadow"} {
		fmt.Fprintf(&b, "  %s: {source: ./%s, port: %s, %s}\n", name, name, pick("8080", "9000"), pick("calls: [behind-"+name+"]", "resources: {cpu: 50m}", "expose: public, host: "+name+".fleet.example"))
		fmt.Fprintf(&b, "  behind-%s: {source: ./behind}\n", name)
	}
	for i := range n {
		fmt.Fprintf(&b, "  s%d:\n    source: ./s%d\n", i, i)
		for _, line := range []string{
			pick("", fmt.Sprintf("expose: public\n    host: s%d.fleet.example", i)),
			pick("", "scale: {replicas: 1}", "scale: {replicas: 2}", "scale: {replicas: 5}", "scale: {replicas: 3..9}"),
			pick("", "stores: [telemetry]", "stores: [telemetry, state]"),
			pick("", "port: 9000", "limits: {requests: 7}"),
			pick("", calls[i]),
			pick("", "traffic: {next: {weight: 25%}, shadow: {mirror: 5%}}", "traffic: {shadow: {header: {X-Shadow: \"1\"}, mirror: 0.1%}, next: {weight: 100%, header: {X-Next: \"1\", x-ring: a}}}"),
			pick("", "operations: {'POST /a': {}, 'GET /a': {}, 'POST /a/{b}': {idempotent: true}, 'GET /a/c': {}, 'DELETE /a/{b}/c': {}}"),
		} {
			if line != "" {
				b.WriteString("    " + line + "\n")
			}
		}
	}
	return b.String()
}

type objects struct {
	routes       map[string][]*networking.VirtualService // by the service they lead to
	destinations map[string]*networking.DestinationRule
	policies     map[string]*security.AuthorizationPolicy
	sidecars     map[string]*networking.Sidecar
}

func readAll(t *testing.T, files []render.File) objects {
	t.Helper()
	all := objects{map[string][]*networking.VirtualService{}, map[string]*networking.DestinationRule{}, map[string]*security.AuthorizationPolicy{}, map[string]*networking.Sidecar{}}
	for _, f := range files {
		service := path.Base(path.Dir(f.Path))
		switch path.Base(f.Path) {
		case "virtualservice.yaml", "virtualservice-public.yaml":
			all.routes[service] = append(all.routes[service], strict(t, f, &networking.VirtualService{}))
		case "destinationrule.yaml":
			all.destinations[service] = strict(t, f, &networking.DestinationRule{})
		case "authorizationpolicy.yaml":
			all.policies[service] = strict(t, f, &security.AuthorizationPolicy{})
		case "sidecar.yaml":
			all.sidecars[service] = strict(t, f, &networking.Sidecar{})
		}
	}
	return all
}

func strict[T any](t *testing.T, f render.File, object T) T {
	t.Helper()
	if err := yaml.UnmarshalStrict(f.Body, object); err != nil {
		t.Fatalf("%s: %v", f.Path, err)
	}
	return object
}

func (all objects) problems(sys *system.System) []string {
	var found []string
	for _, service := range sys.Services {
		name := string(service.Name)
		promise := func(holds bool, format string, args ...any) {
			if !holds {
				found = append(found, name+": "+fmt.Sprintf(format, args...))
			}
		}
		public := service.Expose != system.Hidden
		promise(len(all.routes[name]) == 1+map[bool]int{true: 1}[public], "%d virtual services", len(all.routes[name]))
		for _, routes := range all.routes[name] {
			promise(len(routes.Spec.Http) == (len(service.Operations)+1)*(1+len(headed(service))), "%d routes", len(routes.Spec.Http))
			for _, r := range routes.Spec.Http {
				timeout, try := r.Timeout.AsDuration(), r.Retries.GetPerTryTimeout().AsDuration()
				promise(timeout > 0 && try > 0 && r.Retries.RetryOn != "", "%s leaves a limit to Istio's defaults", r.Name)
				promise(!public || timeout <= sys.Clients.Timeout, "%s takes longer than clients wait", r.Name)
				answered := strings.Contains(r.Retries.RetryOn, "gateway-error")
				promise(!answered || time.Duration(r.Retries.Attempts+1)*try <= timeout, "%s has no time for its tries", r.Name)
				promise(!answered || !sys.Chained(service), "%s is tried again on two hops", r.Name)
				promise(!strings.Contains(r.Retries.RetryOn, "5xx"), "%s retries what fails each time", r.Name)
				promise(all.destinations[name].Spec.TrafficPolicy.ConnectionPool.Tcp.ConnectTimeout.AsDuration() <= timeout/time.Duration(1+r.Retries.Attempts), "%s: connecting takes the time of the tries", r.Name)
			}
			for _, o := range service.Operations {
				r := routeOf(routes, o)
				sent := regexp.MustCompile(`(^|,)(reset|gateway-error)(,|$)`).MatchString(r.Retries.RetryOn)
				promise(o.Idempotent || !sent, "%s may be done twice", o.Name)
				promise(r.Name != "rest", "%s has no route", o.Name)
				promise(r.Timeout.AsDuration() == o.Timeout, "%s may take %s", o.Name, r.Timeout.AsDuration())
			}
		}
		found = append(found, all.admission(sys, service)...)
		outliers := all.destinations[name].Spec.TrafficPolicy.OutlierDetection
		replicas, zones := service.Scale.Replicas, sys.Regions[0].Zones
		for n := replicas.Min; n <= replicas.Max; n++ {
			most := n * int(outliers.MaxEjectionPercent) / 100
			promise(most < n, "all of %d can be taken out", n)
			promise(n == 1 || most >= 1, "none of %d can be taken out", n)
			promise(n == 1 || zones == 1 || most >= (n+zones-1)/zones, "a zone of %d replicas in %d zones cannot be taken out", n, zones)
		}
		limits, own := all.destinations[name].Spec.TrafficPolicy.ConnectionPool, all.sidecars[name].Spec.InboundConnectionPool
		promise(limits.Http.Http2MaxRequests == int32(service.Limits.Requests) && own.Http.Http2MaxRequests >= system.RouteRequests && own.Tcp.MaxConnections >= own.Http.Http2MaxRequests, "its own proxy refuses what callers may send")
		promise(own.Http.H2UpgradePolicy == 0, "its own proxy speaks HTTP/2 to it")
		hosts := all.sidecars[name].Spec.Egress[0].Hosts
		traces := map[bool]int{true: 1}[sys.Traces.On()]
		reached := map[system.Name]bool{}
		for _, call := range service.Calls {
			called, _ := sys.Service(string(call))
			reached[call] = true
			for _, share := range called.Traffic {
				reached[share.Name] = true
			}
		}
		promise(len(hosts) == 2+traces+len(reached)+len(service.Stores), "reaches %v", hosts)
		for other := range reached {
			promise(slices.Contains(hosts, "./"+string(other)+".fleet.svc.cluster.local"), "does not reach %s", other)
		}
	}
	return found
}

// admission is who gets in by one rule for each that the requests are meant
// for: the service itself, and those that share their traffic with it.
func (all objects) admission(sys *system.System, service system.Service) (found []string) {
	promise := func(holds bool, format string, args ...any) {
		if !holds {
			found = append(found, string(service.Name)+": "+fmt.Sprintf(format, args...))
		}
	}
	rules := all.policies[string(service.Name)].Spec.Rules
	meantFor := []system.Service{service}
	for _, other := range sys.Services {
		if slices.ContainsFunc(other.Traffic, func(s system.Share) bool { return s.Name == service.Name }) {
			meantFor = append(meantFor, other)
		}
	}
	for _, meant := range meantFor {
		public := meant.Expose != system.Hidden
		callers := map[bool]int{true: 1}[public]
		for _, other := range sys.Services {
			callers += map[bool]int{true: 1}[slices.Contains(other.Calls, meant.Name)]
		}
		if callers == 0 {
			continue
		}
		if len(rules) == 0 {
			promise(false, "nobody who asks for %s gets in", meant.Name)
			return found
		}
		rule := rules[0]
		rules = rules[1:]
		gateways, services := 0, 0
		for _, from := range rule.From {
			promise(len(from.Source.Namespaces) == 0 || slices.Equal(from.Source.Namespaces, []string{istio.IngressNamespace}), "a whole namespace gets in: %v", from.Source.Namespaces)
			gateways += len(from.Source.Namespaces)
			services += len(from.Source.Principals)
		}
		promise(gateways+services == callers && (gateways == 1) == public, "others than the callers of %s get in", meant.Name)
		for _, to := range rule.To {
			promise(slices.Equal(to.Operation.Ports, []string{fmt.Sprint(service.Port)}), "ports %v", to.Operation.Ports)
			promise((len(to.Operation.Paths) == 0) == (len(meant.Operations) == 0), "paths %v", to.Operation.Paths)
		}
	}
	promise(len(rules) == 0, "%d rules more than callers", len(rules))
	return found
}

func headed(service system.Service) (list []system.Share) {
	for _, share := range service.Traffic {
		if len(share.Header) > 0 {
			list = append(list, share)
		}
	}
	return list
}

// routeOf is the first route that matches an operation's example.
func routeOf(routes *networking.VirtualService, o system.Operation) *networkingapi.HTTPRoute {
	sample := "/" + strings.ReplaceAll(strings.Join(o.Name.Segments(), "/"), "{}", "x.1")
	for _, r := range routes.Spec.Http {
		if len(r.Match) == 0 {
			return r
		}
		m := r.Match[0]
		if len(m.Headers) > 0 {
			continue
		}
		uri := m.Uri.GetExact() == sample
		if expression := m.Uri.GetRegex(); expression != "" {
			uri = regexp.MustCompile("^(" + expression + ")$").MatchString(sample)
		}
		if uri && m.Method.GetExact() == o.Name.Method() {
			return r
		}
	}
	return nil
}
