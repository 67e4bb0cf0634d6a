package kubernetes

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nines-ha/nines/render/istio"
	"github.com/nines-ha/nines/system"
)

// configAnnotation makes a change of the ConfigMap roll the pods. A name with
// a hash would do so too, but deletes the old map under pods that still run.
const configAnnotation = "nines-ha.github.io/config"

// variables are the environment of a service: its own, where it finds those it
// calls, and where it sends traces, in the words of OpenTelemetry, unless its own
// say otherwise. A name without dots is the first that the search list finds.
func variables(sys *system.System, service system.Service) map[string]string {
	all := map[string]string{}
	if sys.Traces.On() {
		all["OTEL_EXPORTER_OTLP_ENDPOINT"] = fmt.Sprintf("http://%s:%d", istio.CollectorHost, istio.CollectorPort)
		all["OTEL_TRACES_SAMPLER"] = "parentbased_traceidratio"
		all["OTEL_TRACES_SAMPLER_ARG"] = strconv.FormatFloat(sys.Traces.Sample.Fraction(), 'f', -1, 64)
	}
	maps.Copy(all, service.Env)
	for _, call := range service.Calls {
		all[system.Variable(call)] = "http://" + string(call)
	}
	return all
}

func (w workload) configMap() *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: w.meta(),
		Data:       w.variables,
	}
}

func (w workload) configHash() string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(w.variables)) {
		h.Write([]byte(strconv.Quote(name) + "=" + strconv.Quote(w.variables[name]) + "\n"))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
