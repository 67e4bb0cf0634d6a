package cloud

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

// NewProvisionController of sig-storage-lib-external-provisioner registers
// core/v1 in client-go's scheme once more, without a lock, while every client of
// the process reads that scheme: "concurrent map read and map write" ends the
// process. The types are there from the start, so that nothing is lost when the
// repetition does nothing. It has to be so before the first goroutine runs.
var _ = leaveSchemeAlone()

func leaveSchemeAlone() struct{} {
	register := corev1.AddToScheme
	corev1.AddToScheme = func(s *runtime.Scheme) error {
		if s == scheme.Scheme {
			return nil
		}
		return register(s)
	}
	return struct{}{}
}
