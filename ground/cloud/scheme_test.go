package cloud

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

func TestTheSchemeIsLeftAlone(t *testing.T) {
	if !scheme.Scheme.Recognizes(corev1.SchemeGroupVersion.WithKind("Pod")) {
		t.Error("client-go's scheme has no Pod")
	}
	own := runtime.NewScheme()
	if err := corev1.AddToScheme(own); err != nil || !own.Recognizes(corev1.SchemeGroupVersion.WithKind("Pod")) {
		t.Errorf("a new scheme does not get its types: %v", err)
	}
}
