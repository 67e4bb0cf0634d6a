package cloud

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nines-ha/nines/ground/balancer"
)

func loadBalancer(ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "vehicle", UID: "uid", Annotations: map[string]string{}},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyCluster, Ports: ports},
	}
}

func TestWants(t *testing.T) {
	http, h2c := "http", "kubernetes.io/h2c"
	web := corev1.ServicePort{Name: "web", Protocol: corev1.ProtocolTCP, Port: 80, NodePort: 30080}
	dns := corev1.ServicePort{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53, NodePort: 30053}
	tcp := balancer.Probe{Protocol: balancer.TCP, Port: 30080, Interval: 5 * time.Second, Threshold: 2}
	local := balancer.Probe{Protocol: balancer.HTTP, Port: 31000, Path: "/healthz", Interval: 5 * time.Second, Threshold: 2}
	for _, test := range []struct {
		name   string
		ports  []corev1.ServicePort
		mode   ProbeMode
		change func(*corev1.Service)
		want   balancer.Balancer
	}{
		{
			name: "as AKS sets it", ports: []corev1.ServicePort{web, dns},
			want: balancer.Balancer{Idle: 4 * time.Minute, Reset: true, Ports: []balancer.Port{
				{Protocol: balancer.TCP, Port: 80, Probe: tcp}, {Protocol: balancer.UDP, Port: 53},
			}},
		},
		{
			name: "Local is asked for its health, UDP too", ports: []corev1.ServicePort{web, dns},
			change: func(s *corev1.Service) {
				s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = corev1.ServiceExternalTrafficPolicyLocal, 31000
			},
			want: balancer.Balancer{Idle: 4 * time.Minute, Reset: true, Ports: []balancer.Port{
				{Protocol: balancer.TCP, Port: 80, Probe: local}, {Protocol: balancer.UDP, Port: 53, Probe: local},
			}},
		},
		{
			name: "shared probe", ports: []corev1.ServicePort{web}, mode: SharedProbe,
			want: balancer.Balancer{Idle: 4 * time.Minute, Reset: true, Ports: []balancer.Port{
				{Protocol: balancer.TCP, Port: 80, Probe: balancer.Probe{Protocol: balancer.HTTP, Port: 10256, Path: "/healthz", Interval: 5 * time.Second, Threshold: 2}},
			}},
		},
		{
			name: "annotations", ports: []corev1.ServicePort{web},
			change: func(s *corev1.Service) {
				s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
				s.Annotations = map[string]string{
					AnnotationIdleTimeout: "30", AnnotationDisableReset: "true", AnnotationProbeProtocol: "HTTPS",
					AnnotationProbeInterval: "10", AnnotationProbeCount: "3", AnnotationProbePath: "readyz",
				}
			},
			want: balancer.Balancer{Idle: 30 * time.Minute, Affinity: balancer.SourceIP, Ports: []balancer.Port{
				{Protocol: balancer.TCP, Port: 80, Probe: balancer.Probe{Protocol: balancer.HTTPS, Port: 30080, Path: "/readyz", Interval: 10 * time.Second, Threshold: 3}},
			}},
		},
		{
			name: "a port's annotations come first", ports: []corev1.ServicePort{web},
			change: func(s *corev1.Service) {
				s.Annotations = map[string]string{
					AnnotationProbeProtocol: "tcp", AnnotationProbeInterval: "10",
					annotationPrefix + "port_80_health-probe_protocol": "http", annotationPrefix + "port_80_health-probe_interval": "7",
					annotationPrefix + "port_80_health-probe_num-of-probe": "4", annotationPrefix + "port_80_health-probe_request-path": "/up",
					annotationPrefix + "port_80_health-probe_port": "10256",
				}
			},
			want: balancer.Balancer{Idle: 4 * time.Minute, Reset: true, Ports: []balancer.Port{
				{Protocol: balancer.TCP, Port: 80, Probe: balancer.Probe{Protocol: balancer.HTTP, Port: 10256, Path: "/up", Interval: 7 * time.Second, Threshold: 4}},
			}},
		},
		{
			name: "appProtocol", ports: []corev1.ServicePort{
				{Protocol: corev1.ProtocolTCP, Port: 80, NodePort: 30080, AppProtocol: &http},
				{Protocol: corev1.ProtocolTCP, Port: 81, NodePort: 30080, AppProtocol: &h2c},
			},
			want: balancer.Balancer{Idle: 4 * time.Minute, Reset: true, Ports: []balancer.Port{
				{Protocol: balancer.TCP, Port: 80, Probe: balancer.Probe{Protocol: balancer.HTTP, Port: 30080, Path: "/", Interval: 5 * time.Second, Threshold: 2}},
				{Protocol: balancer.TCP, Port: 81, Probe: tcp},
			}},
		},
		{
			name: "the probe of another port", ports: []corev1.ServicePort{web, {Name: "status", Protocol: corev1.ProtocolTCP, Port: 15021, NodePort: 30021}},
			change: func(s *corev1.Service) {
				s.Annotations[annotationPrefix+"port_80_health-probe_port"] = "status"
				s.Annotations[annotationPrefix+"port_15021_no_lb_rule"] = "true"
			},
			want: balancer.Balancer{Idle: 4 * time.Minute, Reset: true, Ports: []balancer.Port{
				{Protocol: balancer.TCP, Port: 80, Probe: balancer.Probe{Protocol: balancer.TCP, Port: 30021, Interval: 5 * time.Second, Threshold: 2}},
			}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			service := loadBalancer(test.ports...)
			if test.change != nil {
				test.change(service)
			}
			test.want.Name = "fleet/vehicle"
			got, err := wants(service, test.mode)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateComparable(netip.Addr{}, balancer.Probe{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWantsTellsEveryProblem(t *testing.T) {
	service := loadBalancer(
		corev1.ServicePort{Protocol: corev1.ProtocolTCP, Port: 80, NodePort: 30080},
		corev1.ServicePort{Protocol: corev1.ProtocolSCTP, Port: 90, NodePort: 30090},
		corev1.ServicePort{Protocol: corev1.ProtocolTCP, Port: 91},
	)
	service.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol}
	service.Annotations = map[string]string{
		AnnotationIdleTimeout: "3", AnnotationProbeInterval: "1s", AnnotationProbeCount: "1",
		AnnotationNoFloatingIP: "true", AnnotationHAPorts: "true",
		annotationPrefix + "port_80_health-probe_port":         "nothing",
		annotationPrefix + "port_91_health-probe_num-of-probe": "60",
	}
	_, err := wants(service, ServiceProbe)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`idle-timeout: "3"`, `probe-interval: "1s"`, `num-of-probe: "1"`, "without floating IP", "HA ports", "SCTP",
		`health-probe_port: "nothing"`, "port 91: 60 probes every 5 s take 300 s", "port 91 has no node port", "IPv6",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %s in\n%v", want, err)
		}
	}
}
