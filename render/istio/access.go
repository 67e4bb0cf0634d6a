package istio

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	securityapi "istio.io/api/security/v1beta1"
	typeapi "istio.io/api/type/v1beta1"
	security "istio.io/client-go/pkg/apis/security/v1"

	"github.com/nines-ha/nines/system"
)

// strict refuses plaintext. In the mesh's own namespace it holds for the whole
// mesh. Probes are no exception: the kubelet asks the sidecar's agent.
func (m mesh) strict(namespace, name string) *security.PeerAuthentication {
	return &security.PeerAuthentication{
		TypeMeta:   typed("security", "PeerAuthentication"),
		ObjectMeta: m.common(namespace, name),
		Spec: securityapi.PeerAuthentication{
			Mtls: &securityapi.PeerAuthentication_MutualTLS{Mode: securityapi.PeerAuthentication_MutualTLS_STRICT},
		},
	}
}

// denyAll is a policy without a rule, which nothing matches.
func (m mesh) denyAll() *security.AuthorizationPolicy {
	return &security.AuthorizationPolicy{
		TypeMeta:   typed("security", "AuthorizationPolicy"),
		ObjectMeta: m.common(m.namespace(), "deny-all"),
	}
}

// allow lets the declared callers ask for the declared operations, or for
// anything if none is declared. Who nobody calls has no rule: all is denied.
func (m mesh) allow(service system.Service) *security.AuthorizationPolicy {
	policy := &security.AuthorizationPolicy{
		TypeMeta:   typed("security", "AuthorizationPolicy"),
		ObjectMeta: m.meta(service),
		Spec:       securityapi.AuthorizationPolicy{Selector: &typeapi.WorkloadSelector{MatchLabels: m.selector(service)}},
	}
	if callers := m.callers(service); len(callers) > 0 {
		policy.Spec.Rules = append(policy.Spec.Rules, &securityapi.Rule{From: callers, To: operations(service, service.Port)})
	}
	// Proxies of the callers of another service send some of its requests here.
	for _, other := range m.sharers(service) {
		if callers := m.callers(other); len(callers) > 0 {
			policy.Spec.Rules = append(policy.Spec.Rules, &securityapi.Rule{From: callers, To: operations(other, service.Port)})
		}
	}
	return policy
}

// callers are who the description lets call a service, by their identity. That
// of the gateway is the add-on's to name; its namespace is nobody else's.
func (m mesh) callers(service system.Service) []*securityapi.Rule_From {
	var from []*securityapi.Rule_From
	if service.Expose != system.Hidden {
		from = append(from, &securityapi.Rule_From{Source: &securityapi.Source{Namespaces: []string{IngressNamespace}}})
	}
	var callers []string
	for _, other := range m.system.Services {
		if slices.Contains(other.Calls, service.Name) {
			callers = append(callers, principal(m.namespace(), string(other.Name)))
		}
	}
	if len(callers) > 0 {
		from = append(from, &securityapi.Rule_From{Source: &securityapi.Source{Principals: callers}})
	}
	return from
}

// principal is a SPIFFE identity as a policy writes it, without spiffe://.
func principal(namespace, account string) string {
	return fmt.Sprintf("%s/ns/%s/sa/%s", TrustDomain, namespace, account)
}

// operations are by the port of the pod, not of the Service: a policy is held
// where the request arrives.
func operations(service system.Service, port int) []*securityapi.Rule_To {
	ports := []string{strconv.Itoa(port)}
	if len(service.Operations) == 0 {
		return []*securityapi.Rule_To{{Operation: &securityapi.Operation{Ports: ports}}}
	}
	// Methods of one path share a rule.
	var to []*securityapi.Rule_To
	byPath := map[string]*securityapi.Operation{}
	for _, o := range service.Operations {
		path := template(o.Name)
		if byPath[path] == nil {
			byPath[path] = &securityapi.Operation{Ports: ports, Paths: []string{path}}
			to = append(to, &securityapi.Rule_To{Operation: byPath[path]})
		}
		byPath[path].Methods = append(byPath[path].Methods, o.Name.Method())
	}
	return to
}

// template is the path as a policy writes it: {*} is one segment.
func template(o system.OperationName) string {
	return "/" + strings.ReplaceAll(strings.Join(o.Segments(), "/"), "{}", "{*}")
}
