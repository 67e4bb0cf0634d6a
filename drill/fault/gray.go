package fault

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/record"
)

const (
	// Half of the answers are errors, by chance: outlier detection wants so many in
	// a row. Three in a row take 14 requests on average, five 62, of each proxy
	// that sends there, since each counts for itself.
	grayErrors = 0.5
	// grayStatus is what a proxy puts to the account of a host by either of its
	// counts, of server errors and of gateway errors, and what may be tried again
	// although it is a write: the service has not heard of the request.
	grayStatus = http.StatusServiceUnavailable
	slowBy     = 2 * time.Second
)

// grayPod spoils answers as the service would, with its name in them.
func grayPod(ctx context.Context, sc *scene) (*Injection, error) {
	victim := sc.pods[sc.dice.IntN(len(sc.pods))]
	return sc.impair(ctx, victim, fmt.Sprintf("answers half of its requests with %d", grayStatus), ground.Impairment{
		Errors: grayErrors, Status: grayStatus,
		Headers: map[string]string{"X-Served-By-Pod": victim.Name, "X-Served-By-Node": victim.Spec.NodeName, "X-Served-By-Zone": sc.zoneOf(victim.Spec.NodeName)},
	})
}

func slowPod(ctx context.Context, sc *scene) (*Injection, error) {
	victim := sc.pods[sc.dice.IntN(len(sc.pods))]
	return sc.impair(ctx, victim, fmt.Sprintf("answers %s late", slowBy), ground.Impairment{Delay: slowBy})
}

func stalledDependency(ctx context.Context, sc *scene) (*Injection, error) {
	victim := sc.pods[sc.dice.IntN(len(sc.pods))]
	name := sc.site.Stores[sc.dice.IntN(len(sc.site.Stores))]
	for _, s := range sc.ground.Stores {
		if s.Name != name {
			continue
		}
		address, err := netip.ParseAddr(s.Address)
		if err != nil {
			return nil, fmt.Errorf("address of database %s: %w", name, err)
		}
		return sc.impair(ctx, victim, "sends packets to database "+name+" that are all lost", ground.Impairment{Drop: []netip.AddrPort{netip.AddrPortFrom(address, 0)}})
	}
	return nil, fmt.Errorf("the ground has no database %s", name)
}

// impair makes one pod unwell at the port of the service until it is healed. The
// requests that still reach it are counted, whatever is wrong with it.
func (sc *scene) impair(ctx context.Context, victim corev1.Pod, how string, what ground.Impairment) (*Injection, error) {
	port, err := sc.portOf(ctx, &victim)
	if err != nil {
		return nil, err
	}
	what.Namespace, what.Pod, what.Port = victim.Namespace, victim.Name, port
	region := sc.site.Region
	return &Injection{
		Touches: []string{fmt.Sprintf("make pod %s, one of the %d ready pods of %s, unwell: it %s; its probes notice nothing", victim.Name, len(sc.pods), sc.site.Service, how)},
		Heals:   []Heal{{Do: "mend", Region: region, Namespace: victim.Namespace, Name: victim.Name}},
		inject: func(ctx context.Context, tell func(record.Event)) error {
			tell(record.Event{
				Kind: record.Fault, Name: victim.Name, State: done, Node: victim.Spec.NodeName, Zone: sc.zoneOf(victim.Spec.NodeName),
				Text: "pod " + victim.Name + " " + how,
			})
			return sc.site.Ground.Impair(ctx, region, what)
		},
	}, nil
}

// portOf is where a pod serves what its Service promises.
func (sc *scene) portOf(ctx context.Context, p *corev1.Pod) (uint16, error) {
	service, err := sc.site.Kube.CoreV1().Services(sc.site.Namespace).Get(ctx, sc.site.Service, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && len(service.Spec.Ports) == 0 {
		return 0, &ImpossibleError{fmt.Sprintf("namespace %s has no Service %s with a port", sc.site.Namespace, sc.site.Service)}
	}
	if err != nil {
		return 0, fmt.Errorf("look at Service %s: %w", sc.site.Service, err)
	}
	target := service.Spec.Ports[0].TargetPort
	if target.Type == intstr.Int {
		if target.IntVal == 0 {
			return uint16(service.Spec.Ports[0].Port), nil
		}
		return uint16(target.IntVal), nil
	}
	for _, c := range p.Spec.Containers {
		for _, port := range c.Ports {
			if port.Name == target.StrVal {
				return uint16(port.ContainerPort), nil
			}
		}
	}
	return 0, fmt.Errorf("pod %s has no port %q, which Service %s is for", p.Name, target.StrVal, sc.site.Service)
}
