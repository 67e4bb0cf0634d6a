package render

import corev1 "k8s.io/api/core/v1"

// unreachableSeconds is how long a pod waits on a node that nobody hears from. Zero
// would move every pod at a moment's silence.
const unreachableSeconds = 15

// Tolerations are those of every pod that is rendered.
func Tolerations() []corev1.Toleration {
	return []corev1.Toleration{untilGone(corev1.TaintNodeNotReady), untilGone(corev1.TaintNodeUnreachable)}
}

func untilGone(taint string) corev1.Toleration {
	return corev1.Toleration{
		Key:               taint,
		Operator:          corev1.TolerationOpExists,
		Effect:            corev1.TaintEffectNoExecute,
		TolerationSeconds: new(int64(unreachableSeconds)),
	}
}
