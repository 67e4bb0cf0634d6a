package kubernetes_test

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	rollouts "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/google/go-cmp/cmp"
	networking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"

	"github.com/nines-ha/nines/render"
	"github.com/nines-ha/nines/render/istio"
	"github.com/nines-ha/nines/render/kubernetes"
	"github.com/nines-ha/nines/system"
)

const delivered = `
name: fleet
regions: {westeurope: {zones: %d}}
deliver: {}
services:
  vehicle:
    source: ./vehicle
    expose: public
    %s
    operations: {'GET /v1/vehicles/{vin}': {}, 'POST /v1/vehicles': {}}
    calls: [profile]
    traffic: {preview: {header: {X-Preview: "1"}}}
  profile: {source: ./profile}
  preview: {source: ./preview}
`

// What a canary must be whatever is described, lest it loses requests.
func TestRollout(t *testing.T) {
	for _, said := range []string{
		"scale: {replicas: 3}",
		"scale: {replicas: 2}",
		"scale: {replicas: 4..12}",
		"drain: {delay: 60s, timeout: 90s}",
		"drain: {timeout: 6s}",
		"disruption: {minAvailable: 2}",
		"disruption: {minAvailable: 50%}",
		"disruption: {maxUnavailable: 25%}",
		"canary: {steps: [1%, 2%, 99%], hold: 10s, deadline: 2m}",
		"probes: {start: 15m}",
	} {
		for zones := 1; zones <= 3; zones++ {
			sys := parse(t, fmt.Sprintf(delivered, zones, said))
			files := renderMesh(t, sys)
			for _, service := range sys.Services {
				if !service.Canary.On() {
					if files[service.Name]["rollout.yaml"].Body != nil {
						t.Errorf("%s is a Rollout", service.Name)
					}
					continue
				}
				for _, problem := range rolloutProblems(t, sys, service, files[service.Name], zones) {
					t.Errorf("%s with %s in %d zones: %s", service.Name, said, zones, problem)
				}
			}
		}
	}
}

func rolloutProblems(t *testing.T, sys *system.System, service system.Service, files map[string]render.File, zones int) (found []string) {
	t.Helper()
	promise := func(holds bool, format string, args ...any) {
		if !holds {
			found = append(found, fmt.Sprintf(format, args...))
		}
	}
	promise(files["deployment.yaml"].Body == nil, "a Deployment has the same pods")
	r := strict(t, files["rollout.yaml"], &rollouts.Rollout{})
	canary := r.Spec.Strategy.Canary
	promise(r.APIVersion == "argoproj.io/v1alpha1" && r.Kind == "Rollout", "%s %s", r.APIVersion, r.Kind)

	// Without a Service it would stand still for any replica that is not there; and
	// the Service must change nothing of what proxies know.
	endpoint := strict(t, files["service-canary.yaml"], &corev1.Service{})
	promise(endpoint.Name == canary.CanaryService && maps.Equal(endpoint.Spec.Selector, r.Spec.Selector.MatchLabels), "there is no Service %s of its replicas", canary.CanaryService)
	promise(endpoint.Annotations["networking.istio.io/exportTo"] == "~", "proxies hear of Service %s", endpoint.Name)
	for _, p := range r.Spec.Template.Spec.Containers[0].Ports {
		promise(endpoint.Spec.Ports[0].TargetPort.IntVal != p.ContainerPort && endpoint.Spec.Ports[0].TargetPort.StrVal == "", "Service %s leads to port %s", endpoint.Name, p.Name)
	}

	scale := service.Scale.Replicas
	promise((r.Spec.Replicas == nil) == scale.Scales(), "replicas are said by two, or by none")
	if scale.Scales() {
		target := strict(t, files["horizontalpodautoscaler.yaml"], &autoscalingv2.HorizontalPodAutoscaler{}).Spec.ScaleTargetRef
		promise(target.APIVersion == r.APIVersion && target.Kind == r.Kind && target.Name == r.Name, "the autoscaler scales %+v", target)
	}
	budget := strict(t, files["poddisruptionbudget.yaml"], &policyv1.PodDisruptionBudget{}).Spec
	promise(budget.MinAvailable == nil && budget.MaxUnavailable != nil, "the old version stands in for the canary in the budget")
	if least := service.Disruption.MinAvailable; !least.IsZero() && budget.MaxUnavailable != nil {
		promise(budget.MaxUnavailable.IntValue() == scale.Min-least.Of(scale.Min), "%s of %d must be there, and %s may be away", least, scale.Min, budget.MaxUnavailable)
	}
	least := int(*canary.MinPodsPerReplicaSet)
	promise(least >= 2 && least <= scale.Min && (least >= zones || least == scale.Min), "%d canaries of %d replicas in %d zones", least, scale.Min, zones)

	grace := int32(*r.Spec.Template.Spec.TerminationGracePeriodSeconds)
	promise(canary.ReplicaProgressThreshold.Type == rollouts.ProgressTypePercentage && canary.ReplicaProgressThreshold.Value <= 66 && canary.ReplicaProgressThreshold.Value > 50, "there is no way back while %+v of the old version are not there", canary.ReplicaProgressThreshold)
	promise(!canary.DynamicStableScale, "the old version is scaled down while it is asked")
	promise(*canary.ScaleDownDelaySeconds >= max(grace, 30) && *canary.AbortScaleDownDelaySeconds >= max(grace, 30), "replicas that leave are given %d s and %d s", *canary.ScaleDownDelaySeconds, *canary.AbortScaleDownDelaySeconds)
	promise(r.Spec.ProgressDeadlineAbort && *r.Spec.ProgressDeadlineSeconds > r.Spec.MinReadySeconds+int32(service.Probes.Start/time.Second), "given up after %d s", *r.Spec.ProgressDeadlineSeconds)
	promise(r.Spec.RollbackWindow.Revisions > 0 && *r.Spec.RevisionHistoryLimit > r.Spec.RollbackWindow.Revisions, "a way back longer than the history")

	weight := int32(0)
	for i := 0; i < len(canary.Steps); i += 2 {
		set := canary.Steps[i].SetWeight
		if set == nil || *set <= weight {
			promise(false, "step %d does not weigh more", i)
			break
		}
		weight = *set
		judged := i+1 < len(canary.Steps) && canary.Steps[i+1].Analysis != nil && len(canary.Steps[i+1].Analysis.Templates) == 1
		promise(judged && canary.Steps[i+1].Analysis.Templates[0].TemplateName == r.Name+"-canary", "nothing holds and judges %d%%", weight)
	}
	promise(weight == 100 && len(canary.Steps) == 2*(1+len(service.Canary.Steps)), "%d steps, the last is %d%%", len(canary.Steps), weight)

	// The pods are those of a Deployment, but for what tells revisions apart, and where
	// Prometheus finds their metrics.
	plain := strict(t, renderMesh(t, sys.WithoutDelivery())[service.Name]["deployment.yaml"], &appsv1.Deployment{})
	for i := range plain.Spec.Template.Spec.TopologySpreadConstraints {
		plain.Spec.Template.Spec.TopologySpreadConstraints[i].MatchLabelKeys = []string{"rollouts-pod-template-hash"}
	}
	maps.Copy(plain.Spec.Template.Annotations, map[string]string{
		"prometheus.io/scrape": "true", "prometheus.io/path": "/metrics", "prometheus.io/port": fmt.Sprint(service.Probes.Port),
	})
	if diff := cmp.Diff(plain.Spec.Template, r.Spec.Template); diff != "" {
		promise(false, "its pods are others: %s", diff)
	}
	return append(found, routingProblems(t, canary.TrafficRouting.Istio, files)...)
}

// routingProblems holds a Rollout against the rules of the mesh: it must know every
// route that shares between versions, and each must share between nothing else.
func routingProblems(t *testing.T, routing *rollouts.IstioTrafficRouting, files map[string]render.File) (found []string) {
	t.Helper()
	rule := strict(t, files["destinationrule.yaml"], &networking.DestinationRule{})
	subsets := map[string]bool{}
	for _, s := range rule.Spec.Subsets {
		subsets[s.Name] = true
		if len(s.Labels) == 0 || s.TrafficPolicy != nil {
			found = append(found, "subset "+s.Name+" is not of the service, or has a policy of its own")
		}
	}
	stable, canary := routing.DestinationRule.StableSubsetName, routing.DestinationRule.CanarySubsetName
	if routing.DestinationRule.Name != rule.Name || len(subsets) != 2 || !subsets[stable] || !subsets[canary] {
		found = append(found, fmt.Sprintf("%+v and subsets %v", routing.DestinationRule, slices.Sorted(maps.Keys(subsets))))
	}
	known := map[string][]string{}
	for _, v := range routing.VirtualServices {
		known[v.Name] = v.Routes
	}
	for _, name := range []string{"virtualservice.yaml", "virtualservice-public.yaml"} {
		if files[name].Body == nil {
			continue
		}
		routes := strict(t, files[name], &networking.VirtualService{})
		var shared []string
		for _, r := range routes.Spec.Http {
			if r.Route[0].Destination.Subset == "" {
				continue
			}
			shared = append(shared, r.Name)
			if len(r.Route) != 2 || r.Route[0].Destination.Subset != stable || r.Route[0].Weight != 100 || r.Route[1].Destination.Subset != canary || r.Route[1].Weight != 0 {
				found = append(found, "route "+r.Name+" begins otherwise than with everything stable")
			}
		}
		if !slices.Equal(shared, known[routes.Name]) || len(shared) == 0 {
			found = append(found, fmt.Sprintf("VirtualService %s shares in %v, and the Rollout knows %v", routes.Name, shared, known[routes.Name]))
		}
		delete(known, routes.Name)
	}
	if len(known) > 0 {
		found = append(found, fmt.Sprintf("there is no VirtualService %v", slices.Sorted(maps.Keys(known))))
	}
	return found
}

// renderMesh is all that is rendered of each service, by the name of the file.
func renderMesh(t *testing.T, sys *system.System) map[system.Name]map[string]render.File {
	t.Helper()
	files, err := kubernetes.Render(sys, "westeurope", built(sys), kubernetes.Options{Mesh: true})
	if err != nil {
		t.Fatal(err)
	}
	rules, err := istio.Render(sys, "westeurope", istio.Options{})
	if err != nil {
		t.Fatal(err)
	}
	byService := map[system.Name]map[string]render.File{}
	for _, f := range append(files, rules...) {
		service := system.Name(path.Base(path.Dir(f.Path)))
		if byService[service] == nil {
			byService[service] = map[string]render.File{}
		}
		byService[service][path.Base(f.Path)] = f
	}
	return byService
}

// Only a mesh can share requests between versions.
func TestNoRolloutWithoutMesh(t *testing.T) {
	sys := parse(t, fmt.Sprintf(delivered, 3, "scale: {replicas: 3..6}"))
	var with, without strings.Builder
	for sys, b := range map[*system.System]*strings.Builder{sys: &with, sys.WithoutDelivery(): &without} {
		files, err := kubernetes.Render(sys, "westeurope", built(sys), kubernetes.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			fmt.Fprintf(b, "--- %s\n%s", f.Path, f.Body)
		}
	}
	if diff := cmp.Diff(without.String(), with.String()); diff != "" {
		t.Error(diff)
	}
}

func parse(t *testing.T, text string) *system.System {
	t.Helper()
	sys, err := system.Parse([]byte(text), "nines.yaml")
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return sys
}
