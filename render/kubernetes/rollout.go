package kubernetes

import (
	"time"

	rollouts "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/nines-ha/nines/render/istio"
)

const (
	// A step is judged anyway; this only keeps a replica that ends at once from
	// being asked.
	canaryReadySeconds = 5
	// To one of so many revisions a Rollout goes back in one step and judges nothing, so
	// that a revert is quick; Argo Rollouts does not ask whether it was ever the stable
	// one. The history must be longer.
	rollbackRevisions = 3
	revisionHistory   = 5
	// Twice what news of endpoints and weights take to each proxy is less than this.
	leastLinger = 30 * time.Second
	// Percent of the replicas of a version with which it can be given what it is to
	// have: what the loss of a zone leaves, and a service must bear. It holds for the
	// way back too. If all had to be there, a canary that was taken back would keep its
	// share for as long as one replica of the old version is away.
	enough = 66
	// The port of discard, on which nobody listens.
	nowhere = 9
)

// rollout is what a Deployment would be, for a service with a canary.
//
// Each step sets a weight and then has an analysis, which lasts as long as the
// step holds. An analysis of a step is a gate: while Prometheus does not answer, or
// too few requests have been seen, it has not succeeded, and nothing goes on. One in
// the background beside pauses is none: the pauses run out whether it knows anything
// or not. All requests go to the new version for one more hold before it is the
// stable one, with the old one still there in full, so that what shows only under
// the whole load shows while a way back is a matter of weights.
//
// The old version keeps its replicas until the new one is stable
// (dynamicStableScale is off), and then for linger: a proxy that has not heard of
// the last change finds somebody who answers. A ReplicaSet that is scaled down
// asks no budget, so these times are all that protects it.
func (w workload) rollout() *rollouts.Rollout {
	canary := w.service.Canary
	r := &rollouts.Rollout{
		TypeMeta:   metav1.TypeMeta{APIVersion: rollouts.SchemeGroupVersion.String(), Kind: "Rollout"},
		ObjectMeta: w.meta(),
		Spec: rollouts.RolloutSpec{
			Selector:                &metav1.LabelSelector{MatchLabels: w.selector()},
			Template:                w.template(),
			MinReadySeconds:         canaryReadySeconds,
			RevisionHistoryLimit:    new(int32(revisionHistory)),
			RollbackWindow:          &rollouts.RollbackWindowSpec{Revisions: rollbackRevisions},
			ProgressDeadlineSeconds: new(int32(seconds(canary.Deadline))),
			ProgressDeadlineAbort:   true,
			Strategy: rollouts.RolloutStrategy{Canary: &rollouts.CanaryStrategy{
				CanaryService:              w.canaryName(),
				TrafficRouting:             w.trafficRouting(),
				Steps:                      w.steps(),
				MaxUnavailable:             new(intstr.FromInt32(0)),
				MaxSurge:                   new(intstr.FromString("25%")),
				MinPodsPerReplicaSet:       new(w.leastCanary()),
				ReplicaProgressThreshold:   &rollouts.ReplicaProgressThreshold{Type: rollouts.ProgressTypePercentage, Value: enough},
				ScaleDownDelaySeconds:      new(int32(seconds(w.linger()))),
				AbortScaleDownDelaySeconds: new(int32(seconds(w.linger()))),
			}},
		},
	}
	if replicas := w.service.Scale.Replicas; !replicas.Scales() {
		r.Spec.Replicas = new(int32(replicas.Min))
	}
	return r
}

func (w workload) canaryName() string { return string(w.service.Name) + "-canary" }

// canaryService is a Service that leads nowhere and that no proxy hears of. It is
// named in the Rollout for one thing: without a Service, Argo Rollouts 1.10 ends each
// look at a Rollout at the subsets, with an error, for as long as one replica of
// either version is not available. What comes after that is then not done: a
// canary that never starts is never given up, the next version that is committed
// inherits its deadline and is taken back at once, and a canary that fails and
// crashes keeps its share of the requests. With a Service it leaves the weight at
// what the replicas that are there can bear, and goes on.
//
// A request goes by the subsets, never by this. Its port is none of the replicas',
// so that what their proxies know of their own ports does not change with it.
func (w workload) canaryService() *corev1.Service {
	meta := w.meta()
	meta.Name = w.canaryName()
	meta.Annotations = map[string]string{"networking.istio.io/exportTo": "~"}
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: meta,
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeClusterIP,
			Selector: w.selector(),
			Ports:    []corev1.ServicePort{{Name: "tcp-none", Protocol: corev1.ProtocolTCP, Port: nowhere, TargetPort: intstr.FromInt32(nowhere)}},
		},
	}
}

// linger is longer than any replica takes to go away.
func (w workload) linger() time.Duration {
	return max(w.service.Drain.Grace(), leastLinger)
}

// leastCanary is a replica in each zone, where the service has that many: calls
// stay in their zone then for both versions, as render/istio has it, and what is
// compared is the versions, not the ways to them. It is two at least, so that the
// loss of one is not that of the canary.
func (w workload) leastCanary() int32 {
	return int32(max(min(w.zones, w.service.Scale.Replicas.Min), 2))
}

// trafficRouting names every route in which stable and canary have a weight, in
// both of the service's VirtualServices: what comes in by the gateway, and what
// other services ask.
func (w workload) trafficRouting() *rollouts.RolloutTrafficRouting {
	routing := &rollouts.IstioTrafficRouting{
		DestinationRule: &rollouts.IstioDestinationRule{
			Name:             string(w.service.Name),
			StableSubsetName: istio.StableSubset,
			CanarySubsetName: istio.CanarySubset,
		},
	}
	for _, name := range istio.VirtualServices(w.service) {
		routing.VirtualServices = append(routing.VirtualServices, rollouts.IstioVirtualService{Name: name, Routes: istio.Weighted(w.system, w.service)})
	}
	return &rollouts.RolloutTrafficRouting{Istio: routing}
}

// steps name the AnalysisTemplate of the service, which render/prometheus writes from the same description. It needs no arguments.
func (w workload) steps() []rollouts.CanaryStep {
	analysis := rollouts.CanaryStep{Analysis: &rollouts.RolloutAnalysis{
		Templates: []rollouts.AnalysisTemplateRef{{TemplateName: w.canaryName()}},
	}}
	var steps []rollouts.CanaryStep
	for _, share := range w.service.Canary.Steps {
		steps = append(steps, rollouts.CanaryStep{SetWeight: new(int32(share.Whole()))}, analysis)
	}
	return append(steps, rollouts.CanaryStep{SetWeight: new(int32(100))}, analysis)
}
