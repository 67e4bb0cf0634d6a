package system

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxGrace is how long a node that goes away waits for its pods: the
// autoscaler's limit on AKS.
const maxGrace = 10 * time.Minute

// check finds what is well-formed and makes no sense.
func (d *decoder) check(sys *System) {
	d.checkNamespace(sys)
	d.checkNames(sys)
	d.checkSLO(sys.SLO)
	d.checkClients(sys.Clients)
	d.checkHosts(sys)
	d.checkDelivery(sys)
	if d.given("traces.sample") && !sys.Traces.On() {
		d.reportAt("traces.sample", "0% traces nothing; a sample is above 0%, at most 100%: leave traces out instead", "sample: 1%")
	}
	for _, store := range sys.Stores {
		if err := store.Storage.checkBytes("1Gi", "32Ti"); err != nil {
			d.reportAt(join("stores", string(store.Name), "storage"), err.Error(), "storage: 16Gi")
		}
	}
	for _, service := range sys.Services {
		d.checkService(sys, service)
	}
	d.checkCycles(sys)
}

// reportAt fails a path, unless it has failed already.
func (d *decoder) reportAt(path, message, example string) {
	if !d.failed[path] {
		d.fail(d.valueAt(path), path, message, example)
	}
}

func (d *decoder) valueAt(path string) place {
	if at, ok := d.values[path]; ok {
		return at
	}
	return d.at(path)
}

func (d *decoder) checkNamespace(sys *System) {
	name := string(sys.Name)
	if name == "default" || strings.HasPrefix(name, "kube-") {
		d.reportAt("name", quote(name)+" is a namespace of Kubernetes itself", "name: fleet")
	}
	// Whoever is in one of these is trusted by a mesh, or rules it.
	if name == "observability" || name == "argocd" || name == "argo-rollouts" || name == "monitoring" || strings.HasPrefix(name, "aks-") || strings.HasPrefix(name, "istio-") {
		d.reportAt("name", quote(name)+" is a namespace of the platform, or may become one", "name: fleet")
	}
}

// checkNames refuses names of services that what is rendered has for others.
func (d *decoder) checkNames(sys *System) {
	taken := map[Name]string{
		"mesh":     "the folder of the rules that are of no service",
		"deny-all": "the policy that lets nobody in",
	}
	for _, store := range sys.Stores {
		taken["store-"+store.Name] = "the secret of store " + string(store.Name)
	}
	for _, service := range sys.Services {
		if service.Canary.On() {
			taken[service.Name+"-canary"] = "the Service of the canary of " + string(service.Name)
		}
		if service.Expose != Hidden {
			taken[service.Name+"-public"] = "the way in to " + string(service.Name)
		}
	}
	for _, service := range sys.Services {
		if what, is := taken[service.Name]; is {
			path := join("services", string(service.Name))
			d.report(d.at(path), path, fmt.Sprintf("%s is what %s is called; give the service another name", quote(string(service.Name)), what), string(service.Name)+"-api: {source: ./"+string(service.Name)+"}")
		}
	}
}

func (d *decoder) checkSLO(slo SLO) {
	if slo.Availability < 50*onePercent || slo.Availability >= 100*onePercent {
		d.reportAt("slo.availability", slo.Availability.String()+" is not from 50% to just under 100%; no failed request at all cannot be promised", "availability: 99.9%")
	}
	steps := []struct {
		name  string
		value time.Duration
	}{{"p50", slo.P50}, {"p95", slo.P95}, {"p99", slo.P99}}
	for i, low := range steps {
		for _, high := range steps[i+1:] {
			if high.value != 0 && low.value > high.value {
				d.reportAt("slo."+low.name, fmt.Sprintf("%s is %s, and %s only %s; more requests cannot be faster than fewer", low.name, low.value, high.name, high.value), "p50: 20ms, p95: 100ms, p99: 300ms")
				break
			}
		}
	}
	if slo.Recovery > time.Hour {
		d.reportAt("slo.recovery", fmt.Sprintf("%s is more than an hour", slo.Recovery), "recovery: 30s")
	}
}

func (d *decoder) checkService(sys *System, service Service) {
	path := join("services", string(service.Name))
	at := func(fields ...string) string { return join(path, fields...) }
	switch source, image := d.given(at("source")), d.given(at("image")); {
	case source && image:
		d.reportAt(at("image"), "source and image are both given; a service is built or taken, not both", "source: ./"+string(service.Name))
	case !source && !image:
		d.reportAt(path, "neither source nor image is given", "source: ./"+string(service.Name))
	}
	d.checkScale(at, service)
	d.checkDisruption(at, service)
	d.checkDrain(at, service)
	if err := service.Resources.CPU.checkCPU(); err != nil {
		d.reportAt(at("resources", "cpu"), err.Error(), "cpu: 100m")
	}
	if err := service.Resources.Memory.checkBytes("16Mi", "1Ti"); err != nil {
		d.reportAt(at("resources", "memory"), err.Error(), "memory: 128Mi")
	}
	if start := service.Probes.Start; start < time.Second || start > 15*time.Minute || start%time.Second != 0 {
		d.reportAt(at("probes", "start"), fmt.Sprintf("%s is not whole seconds from 1s to 15m", start), "start: 60s")
	}
	d.checkReferences(sys, at, service)
	d.checkOperations(sys, at, service)
	d.checkBudgets(sys, at, service)
	d.checkLimits(at, service.Limits)
	d.checkTraffic(sys, at, service)
	d.checkCanary(sys, at, service)
	d.checkEnvironment(at, service)
}

// checkHosts makes sure that a request from outside belongs to one service.
func (d *decoder) checkHosts(sys *System) {
	var public []Service
	for _, service := range sys.Services {
		if service.Expose != Hidden {
			public = append(public, service)
		}
	}
	first := map[Host]Name{}
	for _, service := range sys.Services {
		path := join("services", string(service.Name), "host")
		example := "host: " + string(service.Name) + "." + string(sys.Name) + ".example"
		switch other, taken := first[service.Host]; {
		case service.Host != "" && service.Expose == Hidden:
			d.reportAt(path, "the service is not reached from outside; expose it, or leave host out", "expose: public")
		case service.Host == "" && service.Expose != Hidden && len(public) > 1:
			d.report(d.at(path), join("services", string(service.Name)), fmt.Sprintf("host is missing: %d services are public, and a request from outside says by its host which it is for", len(public)), example)
		case service.Host != "" && taken:
			d.reportAt(path, fmt.Sprintf("%s is the host of %s already", service.Host, other), example)
		}
		if service.Host != "" {
			first[service.Host] = service.Name
		}
	}
}

func (d *decoder) checkScale(at func(...string) string, service Service) {
	replicas := service.Scale.Replicas
	switch {
	case replicas.Min > maxReplicas || replicas.Max > maxReplicas:
		d.reportAt(at("scale", "replicas"), fmt.Sprintf("%d..%d is more than the most, %d", replicas.Min, replicas.Max, maxReplicas), "replicas: 3..12")
	case replicas.Max < replicas.Min:
		d.reportAt(at("scale", "replicas"), fmt.Sprintf("%d..%d ends before it begins", replicas.Min, replicas.Max), fmt.Sprintf("replicas: %d..%d", replicas.Max, replicas.Min))
	case !replicas.Scales() && d.given(at("scale", "cpu")):
		d.reportAt(at("scale", "cpu"), fmt.Sprintf("the number of replicas is fixed at %d, so nothing scales on CPU; give a range, or leave cpu out", replicas.Min), fmt.Sprintf("scale: {replicas: %d..%d, cpu: 60%%}", replicas.Min, 4*replicas.Min))
	case replicas.Scales() && (service.Scale.CPU < 10*onePercent || service.Scale.CPU > 95*onePercent || service.Scale.CPU%onePercent != 0):
		d.reportAt(at("scale", "cpu"), service.Scale.CPU.String()+" is not a whole percentage from 10% to 95%", "cpu: 60%")
	}
}

func (d *decoder) checkDisruption(at func(...string) string, service Service) {
	most, least, n := service.Disruption.MaxUnavailable, service.Disruption.MinAvailable, service.Scale.Replicas.Min
	switch {
	case !most.IsZero() && !least.IsZero():
		d.reportAt(at("disruption", "minAvailable"), "maxUnavailable and minAvailable are both given; a budget is one of them", "disruption: {maxUnavailable: 1}")
	case !least.IsZero() && least.Of(n) >= n && d.given(at("disruption", "minAvailable")):
		d.reportAt(at("disruption", "minAvailable"), fmt.Sprintf("%s of %d replicas is all of them, so no node could ever be drained", least, n), "disruption: {maxUnavailable: 1}")
	case most.Of(n) >= n && n > 1:
		d.reportAt(at("disruption", "maxUnavailable"), fmt.Sprintf("%s of %d replicas is all of them, so maintenance could stop the service", most, n), "disruption: {maxUnavailable: 1}")
	}
}

func (d *decoder) checkDrain(at func(...string) string, service Service) {
	drain := service.Drain
	if drain.Delay%time.Second != 0 || drain.Delay < time.Second {
		d.reportAt(at("drain", "delay"), fmt.Sprintf("%s is not whole seconds, 1s or more", drain.Delay), "delay: 10s")
	} else if service.Expose != Hidden && drain.Delay < exposedDelay {
		d.reportAt(at("drain", "delay"), fmt.Sprintf("%s is too short for an exposed service: the load balancer needs two failed probes, 5s apart, to stop sending", drain.Delay), "delay: "+exposedDelay.String())
	}
	// Shutting a Go server down takes up to five seconds when a connection
	// was opened and never used.
	if drain.Timeout%time.Second != 0 || drain.Timeout <= 5*time.Second {
		d.reportAt(at("drain", "timeout"), fmt.Sprintf("%s is not whole seconds, more than 5s", drain.Timeout), "timeout: 20s")
	}
	if drain.Grace() > maxGrace {
		d.reportAt(at("drain"), fmt.Sprintf("delay, timeout and 7s to say goodbye and to close come to %s, and a node that goes away waits %s at most", drain.Grace(), maxGrace), "drain: {delay: 10s, timeout: 20s}")
	}
}

func (d *decoder) checkReferences(sys *System, at func(...string) string, service Service) {
	var services, stores []string
	for _, other := range sys.Services {
		if other.Name != service.Name {
			services = append(services, string(other.Name))
		}
	}
	for _, store := range sys.Stores {
		stores = append(stores, string(store.Name))
	}
	d.checkList(at("calls"), "service", service.Calls, services)
	d.checkList(at("stores"), "store", service.Stores, stores)
}

func (d *decoder) checkList(path, what string, list []Name, known []string) {
	for i, name := range list {
		if slices.Contains(known, string(name)) {
			continue
		}
		example := ""
		if what == "store" {
			example = "stores: {" + string(name) + ": {postgres: 15}}"
		}
		d.reportAt(join(path, fmt.Sprint(i)), missing(what, name, known), example)
	}
}

// missing says that there is no such thing, and what may have been meant.
func missing(what string, name Name, known []string) string {
	message := fmt.Sprintf("there is no other %s %s", what, quote(string(name)))
	if near := nearest(string(name), known); near != "" {
		message += "; did you mean " + near + "?"
	} else if len(known) > 0 {
		message += "; choose from " + strings.Join(known, ", ")
	}
	return message
}
