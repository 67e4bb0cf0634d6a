package kubernetes

import (
	rollouts "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/nines-ha/nines/system"
)

// budget lets a replica that is not healthy be evicted whatever the budget:
// one that crashes would else keep its node from being drained.
func (w workload) budget() *policyv1.PodDisruptionBudget {
	budget := &policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
		ObjectMeta: w.meta(),
		Spec: policyv1.PodDisruptionBudgetSpec{
			Selector:                   &metav1.LabelSelector{MatchLabels: w.selector()},
			UnhealthyPodEvictionPolicy: new(policyv1.AlwaysAllow),
		},
	}
	if least := w.service.Disruption.MinAvailable; !least.IsZero() {
		budget.Spec.MinAvailable = new(amount(least))
	} else {
		budget.Spec.MaxUnavailable = new(amount(w.service.Disruption.MaxUnavailable))
	}
	if w.canary() {
		w.boundEvictions(&budget.Spec)
	}
	return budget
}

// boundEvictions says the same by how many may be away. The budget is of both
// versions together, so that with a number which must be there the old one would
// stand in for every replica of the canary, and all of these could be taken at once.
func (w workload) boundEvictions(spec *policyv1.PodDisruptionBudgetSpec) {
	if least, n := w.service.Disruption.MinAvailable, w.service.Scale.Replicas.Min; !least.IsZero() {
		spec.MinAvailable, spec.MaxUnavailable = nil, new(intstr.FromInt32(int32(n-least.Of(n))))
	}
}

// target is what the autoscaler scales.
func (w workload) target() autoscalingv2.CrossVersionObjectReference {
	if w.canary() {
		return autoscalingv2.CrossVersionObjectReference{APIVersion: rollouts.SchemeGroupVersion.String(), Kind: "Rollout", Name: string(w.service.Name)}
	}
	return autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: string(w.service.Name)}
}

func amount(a system.Amount) intstr.IntOrString {
	if a.Percent != 0 {
		return intstr.FromString(a.String())
	}
	return intstr.FromInt32(int32(a.Count))
}

// autoscaler grows at once and shrinks slowly: five quiet minutes, then a
// quarter a minute. It looks at the service's own container, so that one
// beside it, a proxy say, cannot hide the load.
func (w workload) autoscaler() *autoscalingv2.HorizontalPodAutoscaler {
	scale := w.service.Scale
	return &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta:   metav1.TypeMeta{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler"},
		ObjectMeta: w.meta(),
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: w.target(),
			MinReplicas:    new(int32(scale.Replicas.Min)),
			MaxReplicas:    int32(scale.Replicas.Max),
			Metrics: []autoscalingv2.MetricSpec{{
				Type: autoscalingv2.ContainerResourceMetricSourceType,
				ContainerResource: &autoscalingv2.ContainerResourceMetricSource{
					Name:      corev1.ResourceCPU,
					Container: string(w.service.Name),
					Target:    autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: new(int32(scale.CPU.Whole()))},
				},
			}},
			Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{
				ScaleUp: &autoscalingv2.HPAScalingRules{
					StabilizationWindowSeconds: new(int32(0)),
					SelectPolicy:               new(autoscalingv2.MaxChangePolicySelect),
					Policies: []autoscalingv2.HPAScalingPolicy{
						{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15},
						{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15},
					},
				},
				ScaleDown: &autoscalingv2.HPAScalingRules{
					StabilizationWindowSeconds: new(int32(300)),
					SelectPolicy:               new(autoscalingv2.MaxChangePolicySelect),
					Policies: []autoscalingv2.HPAScalingPolicy{
						{Type: autoscalingv2.PercentScalingPolicy, Value: 25, PeriodSeconds: 60},
					},
				},
			},
		},
	}
}
