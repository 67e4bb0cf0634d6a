package fault

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/ground/mesh"
	"github.com/nines-ha/nines/record"
)

// So many probes a drill tries.
const (
	PlaintextProbes = 4
	IdentityProbes  = 6
)

const (
	inboundPort = 15006 // where a sidecar takes in what comes to its pod
)

// meshProtocols are what a client in the mesh offers: the first has a sidecar take it
// for one, the second is what is spoken.
var meshProtocols = []string{"istio", "http/1.1"}

// A probe is one exchange that must not succeed.
type probe struct {
	name  string
	what  ground.Probe
	id    string // in its trace
	rules bool   // who is in the mesh is answered, with a refusal by a rule; nobody else is
	proof proof
}

// A prober has looked at where its probes go.
type prober struct {
	*scene
	victim  corev1.Pod // one of the service
	port    uint16     // at which it serves
	service netip.AddrPort
	gateway netip.AddrPort // the way in, from inside the cluster
	name    string         // identity of the gateway

	try  func(context.Context, ground.Probe) (ground.Answer, error)
	read func(ctx context.Context, namespace, pod string, since time.Time) ([]byte, error)
}

func plaintextProbe(ctx context.Context, sc *scene) (*Injection, error) {
	return sc.probeWith(ctx, (*prober).plaintext, outsider)
}

func identityProbe(ctx context.Context, sc *scene) (*Injection, error) {
	return sc.probeWith(ctx, (*prober).identity, outsider, foreigner)
}

// plaintext comes from outside the mesh and shows no identity at all.
func (sc *prober) plaintext() []probe {
	from := outsider.ask
	return []probe{
		{name: "plaintext to the Service", what: from(sc.service), proof: proof{pods: sc.pods}},
		{name: "plaintext to a pod", what: from(sc.at(sc.port)), proof: sc.log()},
		{name: "plaintext to a sidecar's administration", what: from(sc.at(adminPort)), proof: sc.log()},
		{name: "plaintext to a sidecar's own port", what: from(sc.at(inboundPort)), proof: sc.statistics(`BlackHoleCluster`)},
	}
}

// identity shows one that is not the stranger's, or not one of a declared caller.
func (sc *prober) identity() []probe {
	unknown, forged := outsider.ask(sc.at(sc.port)), outsider.ask(sc.at(sc.port))
	unknown.TLS = &ground.TLS{ALPN: meshProtocols}
	forged.TLS = &ground.TLS{Identity: sc.name, ALPN: meshProtocols}
	foreign, header := foreigner.ask(sc.service), foreigner.ask(sc.service)
	header.Headers["X-Forwarded-Client-Cert"] = "By=spiffe://" + mesh.TrustDomain + "/ns/" + sc.site.Namespace + "/sa/" + sc.site.Service + ";URI=" + sc.name
	egress := ask(sc.victim.Namespace, sc.victim.Name, sc.gateway)
	handshake := sc.statistics(`listener\..*\.ssl\.fail_verify_`)
	own := []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Namespace: foreigner.namespace, Name: strangerPod}}}
	return []probe{
		{name: "TLS without a certificate", what: unknown, proof: handshake},
		{name: "a forged certificate in the gateway's name", what: forged, proof: handshake},
		{name: "another namespace's identity", what: foreign, rules: true, proof: proof{pods: sc.pods}},
		{name: "the same, with a forged X-Forwarded-Client-Cert", what: header, rules: true, proof: proof{pods: sc.pods}},
		{name: "the same, straight to a pod", what: foreigner.ask(sc.at(sc.port)), rules: true, proof: proof{pods: own}},
		{name: "undeclared egress", what: egress, rules: true, proof: sc.log()},
	}
}

// controls are exchanges like the probes' that must succeed: through the way in,
// which is where the egress goes too, and to the pod's port from inside the pod,
// where no sidecar is in between.
func (sc *prober) controls() []probe {
	return []probe{
		{name: "the way in, from a pod outside the mesh", what: outsider.ask(sc.gateway)},
		{name: "the pod's port, from inside the pod", what: ask(sc.victim.Namespace, sc.victim.Name, sc.at(sc.port))},
	}
}

func ask(namespace, pod string, to netip.AddrPort) ground.Probe {
	return ground.Probe{Namespace: namespace, Pod: pod, To: to, Headers: map[string]string{}}
}

func (st stranger) ask(to netip.AddrPort) ground.Probe { return ask(st.namespace, strangerPod, to) }

// at is a port of the victim.
func (sc *prober) at(port uint16) netip.AddrPort {
	address, _ := netip.ParseAddr(sc.victim.Status.PodIP)
	return netip.AddrPortFrom(address, port)
}

func (sc *prober) log() proof { return proof{pods: []corev1.Pod{sc.victim}} }

func (sc *prober) statistics(names string) proof {
	return proof{pods: []corev1.Pod{sc.victim}, counter: names}
}

// probeWith makes the strangers before the load, and tries every probe under it.
func (sc *scene) probeWith(ctx context.Context, probes func(*prober) []probe, strangers ...stranger) (*Injection, error) {
	p, err := sc.prober(ctx)
	if err != nil {
		return nil, err
	}
	i := &Injection{before: sc.strangers(strangers...)}
	for _, st := range strangers {
		if err := st.free(ctx, sc.site.Kube); err != nil {
			return nil, err
		}
		i.Touches = append(i.Touches, fmt.Sprintf("make namespace %s, with %s, before the load", st.namespace, st))
		i.Heals = append(i.Heals, st.heal())
	}
	list := probes(p)
	i.Touches = append(i.Touches, fmt.Sprintf("try %d exchanges with %s and from pod %s, once each, that must all be refused; no more is changed", len(list), sc.site.Service, p.victim.Name))
	i.inject = p.all(list)
	return i, nil
}

// all asks what must be answered, and then tries each probe.
func (sc *prober) all(list []probe) action {
	return func(ctx context.Context, tell func(record.Event)) error {
		for _, c := range sc.controls() {
			tell(sc.control(ctx, c))
		}
		for _, p := range list {
			tell(sc.carryOut(ctx, p))
		}
		return ctx.Err()
	}
}

func (sc *scene) prober(ctx context.Context) (*prober, error) {
	s := sc.site
	if s.Path == "" {
		return nil, &ImpossibleError{fmt.Sprintf("%s declares no GET with a fixed path, and so there is nothing that must be answered", s.Service)}
	}
	p := &prober{scene: sc, victim: sc.pods[sc.dice.IntN(len(sc.pods))], read: s.readLog}
	p.try = func(ctx context.Context, what ground.Probe) (ground.Answer, error) {
		return s.Ground.Probe(ctx, s.Region, what)
	}
	var err error
	if p.port, err = sc.portOf(ctx, &p.victim); err != nil {
		return nil, err
	}
	if p.service, err = sc.addressOf(ctx, s.Namespace, s.Service); err != nil {
		return nil, err
	}
	if p.gateway, err = sc.addressOf(ctx, mesh.IngressNamespace, mesh.Ingress); err != nil {
		return nil, err
	}
	gateways, err := sc.podsOf(ctx, mesh.IngressNamespace, gatewayLabel)
	if err != nil {
		return nil, err
	}
	if len(gateways) == 0 {
		return nil, fmt.Errorf("there is no ingress gateway; see \"kubectl -n %s get pods\"", mesh.IngressNamespace)
	}
	p.name = fmt.Sprintf("spiffe://%s/ns/%s/sa/%s", mesh.TrustDomain, mesh.IngressNamespace, gateways[0].Spec.ServiceAccountName)
	return p, nil
}

// addressOf is where a Service is found inside the cluster.
func (sc *scene) addressOf(ctx context.Context, namespace, name string) (netip.AddrPort, error) {
	service, err := sc.site.Kube.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("look at Service %s: %w", name, err)
	}
	address, err := netip.ParseAddr(service.Spec.ClusterIP)
	if err != nil || len(service.Spec.Ports) == 0 {
		return netip.AddrPort{}, fmt.Errorf("the Service %s/%s has no address and port inside the cluster", namespace, name)
	}
	return netip.AddrPortFrom(address, uint16(service.Spec.Ports[0].Port)), nil
}

// ready fills in what all exchanges have in common.
func (sc *prober) ready(p probe) probe {
	p.id = fmt.Sprintf("%08x-%016x", sc.dice.Uint32(), sc.dice.Uint64())
	p.what.Path, p.what.Host = sc.site.Path, fmt.Sprintf("%s.%s.svc.cluster.local", sc.site.Service, sc.site.Namespace)
	p.what.Headers["X-Request-Id"], p.what.Headers["Traceparent"] = p.id, record.TraceParent(p.id, false)
	return p
}

func (sc *prober) control(ctx context.Context, p probe) record.Event {
	e := sc.event(record.Control, p.name, record.Unanswered)
	a, err := sc.try(ctx, sc.ready(p).what)
	switch {
	case err != nil:
		e.Text = err.Error()
	case p.answered(a):
		e.State, e.Text = record.Answered, a.String()
	default:
		e.Text = a.String()
	}
	return e
}

// answered tells whether it was the service that answered, well or with what it
// misses in the question, and no proxy on the way.
func (p probe) answered(a ground.Answer) bool {
	switch a.Status {
	case 0, http.StatusForbidden, http.StatusNotFound:
		return false
	}
	return a.Status < http.StatusInternalServerError
}

// carryOut tries a probe, and looks for who says that it refused it.
func (sc *prober) carryOut(ctx context.Context, p probe) record.Event {
	p = sc.ready(p)
	e := sc.event(record.Probe, p.name, record.Unknown)
	var before counters
	if p.proof.counter != "" {
		var err error
		if before, err = sc.count(ctx, p.proof); err != nil {
			e.Text = err.Error()
			return e
		}
	}
	a, err := sc.try(ctx, p.what)
	if err != nil {
		e.Text = err.Error()
		return e
	}
	e.Text = a.String()
	if e.State = p.verdict(a); e.State != record.Refused {
		return e
	}
	if e.Reason, err = sc.prove(ctx, p, a, before); err != nil {
		e.Reason, e.Text = "", e.Text+"; "+err.Error()
	}
	return e
}

// verdict is what an outcome means. To plaintext, and to a certificate that is
// worth nothing, any answer shows that the door was open, also one that says no. A
// refusal to connect is none of a proxy's, and silence is nobody's.
func (p probe) verdict(a ground.Answer) string {
	switch {
	case p.rules && (a.Status == http.StatusForbidden || a.Status == http.StatusBadGateway):
		return record.Refused
	case a.Status != 0:
		return record.Admitted
	case a.Ended():
		return record.Refused
	}
	return record.Unknown
}

func (sc *prober) event(kind, name, state string) record.Event {
	return record.Event{Kind: kind, Name: name, State: state, Node: sc.victim.Spec.NodeName, Zone: sc.zoneOf(sc.victim.Spec.NodeName)}
}
