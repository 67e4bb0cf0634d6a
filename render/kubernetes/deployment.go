package kubernetes

import (
	"time"

	rollouts "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/nines-ha/nines/render"
)

const (
	user = 65532

	// A replica must stay ready this long before a rollout goes on.
	minReadySeconds = 10
)

// lookups are the resolver's options: a name with two dots is asked for as it is
// first, rather than with every suffix of the search list; and a question to a DNS
// replica that is gone is asked again after a second, not after five.
var lookups = []corev1.PodDNSConfigOption{
	{Name: "ndots", Value: new("2")},
	{Name: "timeout", Value: new("1")},
	{Name: "attempts", Value: new("4")},
}

func (w workload) deployment() *appsv1.Deployment {
	d := &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: w.meta(),
		Spec: appsv1.DeploymentSpec{
			Selector:             &metav1.LabelSelector{MatchLabels: w.selector()},
			MinReadySeconds:      minReadySeconds,
			RevisionHistoryLimit: new(int32(5)),
			Strategy: appsv1.DeploymentStrategy{
				Type: appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{
					MaxUnavailable: new(intstr.FromInt32(0)),
					MaxSurge:       new(intstr.FromString("25%")),
				},
			},
			Template: w.template(),
		},
	}
	// Replicas that follow the load belong to the autoscaler: a number here
	// would set them back at each apply.
	if replicas := w.service.Scale.Replicas; !replicas.Scales() {
		d.Spec.Replicas = new(int32(replicas.Min))
	}
	return d
}

// template is the same for a Deployment and for a Rollout.
func (w workload) template() corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: w.podMeta(), Spec: w.pod()}
}

func (w workload) podMeta() metav1.ObjectMeta {
	meta := metav1.ObjectMeta{Labels: w.meta().Labels}
	if version := w.version(); version != "" {
		meta.Labels["app.kubernetes.io/version"] = version
	}
	meta.Annotations = w.annotations()
	return meta
}

func (w workload) pod() corev1.PodSpec {
	pod := corev1.PodSpec{
		ServiceAccountName:            string(w.service.Name),
		AutomountServiceAccountToken:  new(false),
		EnableServiceLinks:            new(false),
		TerminationGracePeriodSeconds: new(seconds(w.service.Drain.Grace())),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot:   new(true),
			RunAsUser:      new(int64(user)),
			RunAsGroup:     new(int64(user)),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		DNSConfig:                 &corev1.PodDNSConfig{Options: lookups},
		TopologySpreadConstraints: w.spread(),
		Tolerations:               render.Tolerations(),
		Containers:                []corev1.Container{w.container()},
	}
	if len(w.service.Stores) > 0 {
		pod.SecurityContext.FSGroup = new(int64(user))
		pod.SecurityContext.FSGroupChangePolicy = new(corev1.FSGroupChangeOnRootMismatch)
	}
	for _, store := range w.service.Stores {
		pod.Volumes = append(pod.Volumes, corev1.Volume{
			Name: storeVolume(store),
			VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
				SecretName:  storeVolume(store),
				DefaultMode: new(int32(0o440)),
			}},
		})
	}
	return pod
}

// spread puts replicas evenly over zones, and as evenly over nodes as there
// is room. A lost zone must not keep its replicas' successors waiting for it:
// its nodes are tainted, and Honor takes tainted nodes out of the count, so
// the rest of the zones take them. Counting them, as is the default, or asking
// for a least number of zones would leave the successors pending. Each
// revision is spread by itself, or the old pods of a rollout would pull the
// new ones out of balance.
func (w workload) spread() []corev1.TopologySpreadConstraint {
	constraint := func(key string, otherwise corev1.UnsatisfiableConstraintAction) corev1.TopologySpreadConstraint {
		return corev1.TopologySpreadConstraint{
			MaxSkew:            1,
			TopologyKey:        key,
			WhenUnsatisfiable:  otherwise,
			LabelSelector:      &metav1.LabelSelector{MatchLabels: w.selector()},
			MatchLabelKeys:     []string{w.revisionLabel()},
			NodeAffinityPolicy: new(corev1.NodeInclusionPolicyHonor),
			NodeTaintsPolicy:   new(corev1.NodeInclusionPolicyHonor),
		}
	}
	return []corev1.TopologySpreadConstraint{
		constraint(corev1.LabelTopologyZone, corev1.DoNotSchedule),
		constraint(corev1.LabelHostname, corev1.ScheduleAnyway),
	}
}

// revisionLabel is what tells the pods of one revision from those of another. A key
// that no pod has would be left out of account without a word.
func (w workload) revisionLabel() string {
	if w.canary() {
		return rollouts.DefaultRolloutUniqueLabelKey
	}
	return appsv1.DefaultDeploymentUniqueLabelKey
}

func seconds(d time.Duration) int64 {
	return int64((d + time.Second - 1) / time.Second)
}
