package cloud

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nines-ha/nines/ground/balancer"
)

// Annotations of a Service that change its load balancer, with AKS's meaning.
const (
	annotationPrefix = "service.beta.kubernetes.io/"

	AnnotationInternal      = annotationPrefix + "azure-load-balancer-internal"
	AnnotationIPv4          = annotationPrefix + "azure-load-balancer-ipv4"
	AnnotationIdleTimeout   = annotationPrefix + "azure-load-balancer-tcp-idle-timeout"
	AnnotationDisableReset  = annotationPrefix + "azure-load-balancer-disable-tcp-reset"
	AnnotationProbeProtocol = annotationPrefix + "azure-load-balancer-health-probe-protocol"
	AnnotationProbeInterval = annotationPrefix + "azure-load-balancer-health-probe-interval"
	AnnotationProbeCount    = annotationPrefix + "azure-load-balancer-health-probe-num-of-probe"
	AnnotationProbePath     = annotationPrefix + "azure-load-balancer-health-probe-request-path"

	// Understood, and refused when true: nothing here behaves so.
	AnnotationNoFloatingIP = annotationPrefix + "azure-disable-load-balancer-floating-ip"
	AnnotationHAPorts      = annotationPrefix + "azure-load-balancer-enable-high-availability-ports"
)

// Annotations of one port, that come before those of the whole Service.
const (
	portProbeProtocol = "health-probe_protocol"
	portProbeInterval = "health-probe_interval"
	portProbeCount    = "health-probe_num-of-probe"
	portProbePath     = "health-probe_request-path"
	portProbePort     = "health-probe_port"
	portNoRule        = "no_lb_rule"
	portNoProbe       = "no_probe_rule"
)

const (
	healthzPath     = "/healthz"
	kubeProxyPort   = 10256
	minIdle         = 4 // minutes
	maxIdle         = 100
	minInterval     = 5 // seconds
	minThreshold    = 2
	maxProbeSeconds = 120
)

// reader collects what is wrong with a Service's annotations, all at once.
type reader struct {
	service  *corev1.Service
	problems []error
}

func (r *reader) text(key string) (string, bool) {
	value, found := r.service.Annotations[key]
	value = strings.TrimSpace(value)
	return value, found && value != ""
}

func (r *reader) flag(key string) bool {
	value, _ := r.text(key)
	return strings.EqualFold(value, "true")
}

func (r *reader) number(key string, fallback, least, most int) int {
	value, found := r.text(key)
	if !found {
		return fallback
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		r.problems = append(r.problems, fmt.Errorf("annotation %s: %q is not a whole number from %d to %d", key, value, least, most))
		return fallback
	}
	return n
}

func (r *reader) address(key string) netip.Addr {
	value, found := r.text(key)
	if !found {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(value)
	if err != nil || !a.Is4() {
		r.problems = append(r.problems, fmt.Errorf("annotation %s: %q is not an IPv4 address", key, value))
	}
	return a
}

func (r *reader) refuse(key, what string) {
	if r.flag(key) {
		r.problems = append(r.problems, fmt.Errorf("annotation %s: %s is not built here", key, what))
	}
}

func portKey(port corev1.ServicePort, what string) string {
	return fmt.Sprintf("%sport_%d_%s", annotationPrefix, port.Port, what)
}

// either takes the port's annotation, or else the Service's.
func (r *reader) either(port corev1.ServicePort, ofPort, ofService string) string {
	if _, found := r.text(portKey(port, ofPort)); found {
		return portKey(port, ofPort)
	}
	return ofService
}

// wants is everything about the balancer but where it is.
func wants(service *corev1.Service, mode ProbeMode) (balancer.Balancer, error) {
	r := &reader{service: service}
	r.refuse(AnnotationNoFloatingIP, "a load balancer without floating IP")
	r.refuse(AnnotationHAPorts, "an HA ports rule")
	b := balancer.Balancer{
		Name:  balancerName(service),
		Idle:  time.Duration(r.number(AnnotationIdleTimeout, minIdle, minIdle, maxIdle)) * time.Minute,
		Reset: !r.flag(AnnotationDisableReset),
	}
	if service.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		b.Affinity = balancer.SourceIP
	}
	for _, port := range service.Spec.Ports {
		if r.flag(portKey(port, portNoRule)) {
			continue
		}
		rule := balancer.Port{Port: uint16(port.Port)}
		switch port.Protocol {
		case corev1.ProtocolTCP, "":
			rule.Protocol = balancer.TCP
		case corev1.ProtocolUDP:
			rule.Protocol = balancer.UDP
		default:
			r.problems = append(r.problems, fmt.Errorf("port %d: Azure balances TCP and UDP, not %s", port.Port, port.Protocol))
			continue
		}
		if !r.flag(portKey(port, portNoProbe)) {
			rule.Probe = r.probe(port, mode)
		}
		b.Ports = append(b.Ports, rule)
	}
	if len(service.Spec.IPFamilies) > 0 && service.Spec.IPFamilies[0] != corev1.IPv4Protocol {
		r.problems = append(r.problems, fmt.Errorf("IP family %s is not built here; use IPv4", service.Spec.IPFamilies[0]))
	}
	if err := errors.Join(r.problems...); err != nil {
		return balancer.Balancer{}, fmt.Errorf("service %s: %w", balancerName(service), err)
	}
	return b, nil
}

func balancerName(service *corev1.Service) string { return service.Namespace + "/" + service.Name }
