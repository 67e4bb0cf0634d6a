// Package prometheus renders what measures a system and judges its new versions:
// a Prometheus for each region, what it collects, and for each service with a
// canary an AnalysisTemplate. Call Render; the files are in the order in which
// they can be applied. A Version has the queries, for whoever wants to show what
// the judge sees. It is pure: same system, same bytes.
//
// The evidence is what the proxies of those that call a service count. A stock
// Envoy has no metric of Istio's, and a replica does not see what never reached it.
package prometheus

import (
	"fmt"
	"path"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nines-ha/nines/render"
	"github.com/nines-ha/nines/system"
)

// Where Prometheus is found, by whoever is in the cluster. It is outside the mesh.
const (
	Namespace = "monitoring"
	Name      = "prometheus"
	Port      = 9090
	Address   = "http://" + Name + "." + Namespace + ".svc.cluster.local:9090"

	Image = "quay.io/prometheus/prometheus:v3.16.0"
)

// Folder is where all of it is, but for the AnalysisTemplates.
const Folder = "platform/monitoring"

// Template is the name of a service's AnalysisTemplate, in the system's namespace.
func Template(service system.Name) string {
	return string(service) + "-canary"
}

// Render returns Prometheus for one region, and an AnalysisTemplate for each service
// with a canary.
func Render(sys *system.System, region string) ([]render.File, error) {
	if _, ok := sys.Region(region); !ok {
		return nil, fmt.Errorf("render the metrics of %s: there is no region %q in it; name one of its regions", sys.Name, region)
	}
	m := monitoring{system: sys, region: region, scrape: interval(sys.Services)}
	files := render.NewSet("")
	if err := m.add(files); err != nil {
		return nil, fmt.Errorf("render the metrics of %s: %w", sys.Name, err)
	}
	for _, service := range sys.Services {
		if service.Canary.On() {
			files.Add(path.Join("apps", string(sys.Name), string(service.Name), "analysistemplate.yaml"), m.template(service))
		}
	}
	list, err := files.Files()
	if err != nil {
		return nil, fmt.Errorf("render the metrics of %s: %w", sys.Name, err)
	}
	return list, nil
}

// monitoring is a system in a region with how often its metrics are collected.
type monitoring struct {
	system *system.System
	region string
	scrape time.Duration
}

const (
	usualInterval = 5 * time.Second
	// Four samples make a rate: with fewer, one that is missed hides it.
	samples = 4
)

// interval is so short that the shortest step has samples enough.
func interval(services []system.Service) time.Duration {
	shortest := usualInterval
	for _, service := range services {
		if service.Canary.On() {
			shortest = min(shortest, (service.Canary.Hold / samples).Truncate(time.Second/2))
		}
	}
	return shortest
}

// meta is that of an object of Prometheus.
func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: Namespace, Labels: labels()}
}

func labels() map[string]string {
	l := selector()
	l["app.kubernetes.io/managed-by"] = "nines"
	return l
}

func selector() map[string]string {
	return map[string]string{"app.kubernetes.io/name": Name}
}
