package kubernetes_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"

	"github.com/nines-ha/nines/render"
	"github.com/nines-ha/nines/render/kubernetes"
	"github.com/nines-ha/nines/system"
)

// What holds for whatever is described, held against many descriptions.
func TestPromises(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		text := describe(random)
		sys, err := system.Parse([]byte(text), "nines.yaml")
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		mesh := random.IntN(2) == 1
		files, err := kubernetes.Render(sys, "westeurope", built(sys), kubernetes.Options{Mesh: mesh})
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		objects := readAll(t, files)
		for _, problem := range objects.problems(sys, mesh) {
			t.Errorf("%s in\n%s", problem, text)
		}
		if t.Failed() {
			return
		}
	}
}

func describe(random *rand.Rand) string {
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	var b strings.Builder
	b.WriteString("name: fleet\nregions: {westeurope: {zones: " + pick("1", "2", "3") + "}}\nstores: {telemetry: {postgres: 15}}\nservices:\n")
	for i := range 1 + random.IntN(3) {
		fmt.Fprintf(&b, "  s%d:\n    source: ./s%d\n", i, i)
		for _, line := range []string{
			pick("", fmt.Sprintf("expose: public\n    host: s%d.fleet.example", i)),
			pick("", "scale: {replicas: 1}", "scale: {replicas: 5}", "scale: {replicas: 3..9}", "scale: {replicas: 2..4, cpu: 80%}"),
			pick("", "resources: {cpu: 0.25, memory: 64Mi}", "resources: {memory: 1G}", "resources: {cpu: 2}"),
			pick("", "drain: {timeout: 90s}", "drain: {delay: 30s}"),
			pick("", "probes: {port: 8080}", "probes: {port: 9000, start: 5m}"),
			pick("", "stores: [telemetry]"),
			pick("", "env: {A: b}"),
		} {
			if line != "" {
				b.WriteString("    " + line + "\n")
			}
		}
	}
	return b.String()
}

type objects struct {
	deployments map[string]*appsv1.Deployment
	services    map[string]*corev1.Service
	maps        map[string]*corev1.ConfigMap
	accounts    map[string]*corev1.ServiceAccount
	budgets     map[string]*policyv1.PodDisruptionBudget
	scalers     map[string]*autoscalingv2.HorizontalPodAutoscaler
}

// readAll reads the files as a strict server would.
func readAll(t *testing.T, files []render.File) objects {
	t.Helper()
	all := objects{
		deployments: map[string]*appsv1.Deployment{}, services: map[string]*corev1.Service{},
		maps: map[string]*corev1.ConfigMap{}, accounts: map[string]*corev1.ServiceAccount{},
		budgets: map[string]*policyv1.PodDisruptionBudget{}, scalers: map[string]*autoscalingv2.HorizontalPodAutoscaler{},
	}
	for _, f := range files {
		parts := strings.Split(f.Path, "/")
		name := parts[len(parts)-2]
		switch parts[len(parts)-1] {
		case "namespace.yaml":
			strict(t, f, &corev1.Namespace{})
		case "deployment.yaml":
			all.deployments[name] = strict(t, f, &appsv1.Deployment{})
		case "service.yaml":
			all.services[name] = strict(t, f, &corev1.Service{})
		case "configmap.yaml":
			all.maps[name] = strict(t, f, &corev1.ConfigMap{})
		case "serviceaccount.yaml":
			all.accounts[name] = strict(t, f, &corev1.ServiceAccount{})
		case "poddisruptionbudget.yaml":
			all.budgets[name] = strict(t, f, &policyv1.PodDisruptionBudget{})
		case "horizontalpodautoscaler.yaml":
			all.scalers[name] = strict(t, f, &autoscalingv2.HorizontalPodAutoscaler{})
		default:
			t.Fatalf("%s is of a kind that the test does not know", f.Path)
		}
	}
	return all
}

func strict[T any](t *testing.T, f render.File, object *T) *T {
	t.Helper()
	if err := yaml.UnmarshalStrict(f.Body, object); err != nil {
		t.Fatalf("%s: %v", f.Path, err)
	}
	return object
}

func (all objects) problems(sys *system.System, mesh bool) []string {
	var found []string
	for _, service := range sys.Services {
		name := string(service.Name)
		promise := func(holds bool, format string, args ...any) {
			if !holds {
				found = append(found, name+": "+fmt.Sprintf(format, args...))
			}
		}
		d := all.deployments[name]
		pod := d.Spec.Template.Spec
		c := pod.Containers[0]

		_, scales := all.scalers[name]
		promise(scales == service.Scale.Replicas.Scales(), "autoscaler there: %v", scales)
		promise((d.Spec.Replicas == nil) == scales, "replicas are said by two, or by none")
		if scales {
			promise(!c.Resources.Requests.Cpu().IsZero(), "no CPU request, so nothing to scale on")
		}
		budget, ok := all.budgets[name]
		promise(ok == (service.Scale.Replicas.Min > 1), "budget there: %v", ok)
		if ok && budget.Spec.MaxUnavailable != nil {
			promise(budget.Spec.MaxUnavailable.IntValue() != 0, "the budget allows no eviction")
		}

		sleep := c.Lifecycle.PreStop.Sleep.Seconds
		promise(*pod.TerminationGracePeriodSeconds >= sleep+int64(service.Drain.Timeout.Seconds())+5, "killed before it is done")
		balanced := all.services[name].Spec.Type == corev1.ServiceTypeLoadBalancer
		promise(balanced == (service.Expose != system.Hidden && !mesh), "load balancer there: %v", balanced)
		promise((d.Spec.Template.Annotations["sidecar.istio.io/nativeSidecar"] == "true") == mesh, "annotations %v", d.Spec.Template.Annotations)
		promise(!mesh || strings.Contains(d.Spec.Template.Annotations["proxy.istio.io/config"], fmt.Sprintf(`"drainDuration":%q`, time.Duration(*pod.TerminationGracePeriodSeconds)*time.Second)), "the proxy stops listening before the service is done")
		if balanced {
			promise(sleep > 10, "gone before the load balancer knows: %d s", sleep)
		}
		promise(c.Resources.Limits.Memory().Cmp(*c.Resources.Requests.Memory()) > 0, "GOMEMLIMIT is not below the limit")

		ports := map[string]bool{}
		for _, p := range c.Ports {
			ports[p.Name] = true
		}
		for what, probe := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
			promise(ports[probe.HTTPGet.Port.String()], "%s asks a port that is not there", what)
		}
		promise(ports[all.services[name].Spec.Ports[0].TargetPort.String()], "the Service points to a port that is not there")

		promise(all.accounts[name].Name == pod.ServiceAccountName, "no such service account")
		for _, from := range c.EnvFrom {
			promise(all.maps[from.ConfigMapRef.Name] != nil, "no such config map")
		}
		promise(len(c.VolumeMounts) == len(pod.Volumes), "volumes and mounts differ")
		for key, value := range d.Spec.Selector.MatchLabels {
			promise(d.Spec.Template.Labels[key] == value && all.services[name].Spec.Selector[key] == value, "label %s does not select the pods", key)
		}
		for _, s := range pod.TopologySpreadConstraints {
			promise(s.MinDomains == nil && s.NodeTaintsPolicy != nil && *s.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor, "a lost zone would be waited for")
		}
	}
	return found
}

// A change of configuration must reach the pods, and nothing else must roll
// them.
func TestConfigRollsPods(t *testing.T) {
	annotations := func(env string) string {
		sys, err := system.Parse([]byte("name: fleet\nservices: {vehicle: {source: ./v, env: {"+env+"}}}\n"), "nines.yaml")
		if err != nil {
			t.Fatal(err)
		}
		files, err := kubernetes.Render(sys, "westeurope", built(sys), kubernetes.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(readAll(t, files).deployments["vehicle"].Spec.Template.Annotations)
	}
	if annotations("A: x, B: y") == annotations("A: x, B: z") {
		t.Error("a changed variable does not roll the pods")
	}
	if annotations("A: x, B: y") != annotations("B: y, A: x") {
		t.Error("the order of variables rolls the pods")
	}
}
