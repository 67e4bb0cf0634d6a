package cloud

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/cloud-provider/service/helpers"

	"github.com/nines-ha/nines/ground/balancer"
)

// probe follows Azure's cloud provider: a Local Service is asked through its
// health check node port, whatever its ports are; a Cluster one by each port's
// node port, in the protocol of the port's annotation, its appProtocol, or the
// Service's annotation; UDP not at all.
func (r *reader) probe(port corev1.ServicePort, mode ProbeMode) balancer.Probe {
	interval, threshold := r.pace(port)
	p := balancer.Probe{Interval: interval, Threshold: threshold}
	explicit, hasPort := r.text(portKey(port, portProbePort))
	if path, local := helpers.GetServiceHealthCheckPathPort(r.service); local != 0 && !hasPort {
		p.Protocol, p.Port, p.Path = balancer.HTTP, uint16(local), path
		return p
	}
	if mode == SharedProbe && !helpers.RequestsOnlyLocalTraffic(r.service) {
		return balancer.Probe{Protocol: balancer.HTTP, Port: kubeProxyPort, Path: healthzPath, Interval: balancer.DefaultInterval, Threshold: balancer.DefaultThreshold}
	}
	if port.Protocol == corev1.ProtocolUDP {
		return balancer.Probe{}
	}
	p.Port = uint16(port.NodePort)
	if hasPort {
		p.Port = r.probePort(port, explicit)
	}
	p.Protocol = r.probeProtocol(port)
	if p.Protocol != balancer.TCP {
		p.Path = "/"
		if path, found := r.text(r.either(port, portProbePath, AnnotationProbePath)); found {
			p.Path = path
		}
		if !strings.HasPrefix(p.Path, "/") {
			p.Path = "/" + p.Path
		}
	}
	if p.Port == 0 {
		r.problems = append(r.problems, fmt.Errorf("port %d has no node port to probe; remove allocateLoadBalancerNodePorts: false", port.Port))
	}
	return p
}

func (r *reader) pace(port corev1.ServicePort) (time.Duration, int) {
	intervalKey := r.either(port, portProbeInterval, AnnotationProbeInterval)
	countKey := r.either(port, portProbeCount, AnnotationProbeCount)
	interval := r.number(intervalKey, int(balancer.DefaultInterval/time.Second), minInterval, maxProbeSeconds)
	count := r.number(countKey, balancer.DefaultThreshold, minThreshold, maxProbeSeconds)
	if interval*count >= maxProbeSeconds {
		r.problems = append(r.problems, fmt.Errorf("port %d: %d probes every %d s take %d s, and Azure allows less than %d", port.Port, count, interval, interval*count, maxProbeSeconds))
	}
	return time.Duration(interval) * time.Second, count
}

// probeProtocol is TCP for anything unknown, as with Azure's cloud provider.
func (r *reader) probeProtocol(port corev1.ServicePort) balancer.Protocol {
	name, found := r.text(portKey(port, portProbeProtocol))
	if !found && port.AppProtocol != nil {
		name, found = *port.AppProtocol, true
	}
	if !found {
		name, _ = r.text(AnnotationProbeProtocol)
	}
	switch strings.ToLower(name) {
	case "http":
		return balancer.HTTP
	case "https":
		return balancer.HTTPS
	}
	return balancer.TCP
}

// probePort is a port of the Service by name or number, and then its node port,
// or else a port of the node.
func (r *reader) probePort(port corev1.ServicePort, value string) uint16 {
	number, err := strconv.ParseUint(value, 10, 16)
	for _, other := range r.service.Spec.Ports {
		if err != nil && strings.EqualFold(other.Name, value) || err == nil && other.Port == int32(number) {
			return uint16(other.NodePort)
		}
	}
	if err != nil || number == 0 {
		r.problems = append(r.problems, fmt.Errorf("annotation %s: %q is neither a port of the service nor a number from 1 to 65535", portKey(port, portProbePort), value))
		return 0
	}
	return uint16(number)
}
