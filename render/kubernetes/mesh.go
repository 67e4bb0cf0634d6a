package kubernetes

import (
	"encoding/json"
	"maps"
	"strconv"

	"github.com/nines-ha/nines/system"
)

// What a sidecar asks for. It is sized for a service of a few hundred requests
// a second; there is no CPU limit, as for the service itself.
const (
	proxyCPU         = "100m"
	proxyMemory      = "64Mi"
	proxyMemoryLimit = "192Mi"
)

// proxyAnnotations are what the injector reads on a pod. The sidecar is a
// container that starts before the service and ends after it (a native one),
// so that no request is lost at either end. Its drain begins with the pod's:
// from the first second it asks callers to close their connections, and at the
// end of drainDuration it stops listening, which must not be before the service
// is done. terminationDrainDuration is the same for an injector that makes
// sidecars of the older kind.
func (w workload) proxyAnnotations() map[string]string {
	grace := w.service.Drain.Grace().String()
	// Keys of a map are written in order. It cannot fail: all is plain.
	config, _ := json.Marshal(map[string]any{
		"concurrency":              concurrency(w.service.Resources.CPU),
		"drainDuration":            grace,
		"terminationDrainDuration": grace,
	})
	return map[string]string{
		"proxy.istio.io/config":             string(config),
		"sidecar.istio.io/nativeSidecar":    "true",
		"sidecar.istio.io/proxyCPU":         proxyCPU,
		"sidecar.istio.io/proxyMemory":      proxyMemory,
		"sidecar.istio.io/proxyMemoryLimit": proxyMemoryLimit,
	}
}

// concurrency is the number of the proxy's threads: one for each core that the
// service asks for, begun ones counted. Unset it would be one for each core of
// the node, and each has connections and statistics of its own.
func concurrency(cpu system.Quantity) int {
	cores := cpu.Rat()
	whole := int(cores.Num().Int64() / cores.Denom().Int64())
	if !cores.IsInt() {
		whole++
	}
	return max(whole, 1)
}

func (w workload) annotations() map[string]string {
	all := map[string]string{}
	if len(w.variables) > 0 {
		all[configAnnotation] = w.configHash()
	}
	if w.mesh {
		maps.Copy(all, w.proxyAnnotations())
	}
	if w.mesh && w.system.Deliver.On() {
		maps.Copy(all, w.metricsAnnotations())
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// metricsAnnotations tell the injector where the library has a service's metrics, and
// the sidecar's agent then adds them to its own: behind mutual TLS nobody else can ask.
func (w workload) metricsAnnotations() map[string]string {
	return map[string]string{
		"prometheus.io/scrape": "true",
		"prometheus.io/port":   strconv.Itoa(w.service.Probes.Port),
		"prometheus.io/path":   "/metrics",
	}
}
