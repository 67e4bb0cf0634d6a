package argo

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nines-ha/nines/system"
)

// No Application has a finalizer: one that is deleted, by whom or by what ever,
// leaves running what it has applied.

func (t *tree) rootApplication() application {
	a := application{TypeMeta: typed("Application"), ObjectMeta: t.meta(rootProject, -1), Spec: applicationSpec{
		Project:     rootProject,
		Source:      t.source(path.Join(t.root(), controlFolder)),
		Destination: destination{Server: inCluster, Namespace: Namespace},
		SyncPolicy:  policy(),
	}}
	// A set that goes must leave its Applications: only in the background does
	// its finalizer keep them from being collected with it.
	a.Spec.SyncPolicy.SyncOptions = append(a.Spec.SyncPolicy.SyncOptions, "PrunePropagationPolicy=background")
	var regions []string
	for _, r := range t.options.Regions {
		regions = append(regions, r.Name)
	}
	a.Annotations[regionsAnnotation] = strings.Join(regions, ",")
	return a
}

// component is an Application of its own rather than one of a set, since only
// objects of the root wait for the wave before.
func (t *tree) component(a app) application {
	meta := t.meta(ApplicationName(a.name, a.region), a.wave)
	maps.Copy(meta.Labels, map[string]string{RegionLabel: a.region})
	meta.Annotations[pathsAnnotation] = "."
	return application{TypeMeta: typed("Application"), ObjectMeta: meta, Spec: applicationSpec{
		Project:           platformProject,
		Source:            t.source(t.folder(a)),
		Destination:       destination{Name: a.region, Namespace: a.namespace},
		SyncPolicy:        policy(),
		IgnoreDifferences: ignored(a.objects),
	}}
}

func (t *tree) source(folder string) source {
	return source{RepoURL: t.options.Repository, TargetRevision: Branch, Path: folder, Directory: directory{Recurse: true}}
}

// policy applies only what differs, which also keeps Argo CD's hands off the
// weights of a canary that is under way. It has no RespectIgnoreDifferences: that
// puts the live list in the place of the one in Git when any of its elements has
// an ignored field, and no change of a route would ever arrive
// (argoproj/argo-cd#23283). A VirtualService whose routes are changed while a
// canary runs gets the weights of Git until Argo Rollouts, which watches it, sets
// them again: all to the stable subset, which is always there.
func policy() syncPolicy {
	return syncPolicy{
		Automated: automated{Prune: true, SelfHeal: true},
		SyncOptions: []string{
			"ServerSideApply=true",
			"ApplyOutOfSyncOnly=true",
			"PruneLast=true",
			"FailOnSharedResource=true",
			"SkipDryRunOnMissingResource=true",
		},
		// Some eight minutes of an API server or a webhook that does not answer.
		// refresh: the commit that mends it is taken at the next try.
		Retry: retry{Limit: 10, Backoff: backoff{Duration: "5s", Factor: 2, MaxDuration: "1m"}, Refresh: true},
	}
}

// serviceSet makes the Application of a service in each region whose cluster is
// known. If regions are rolled one at a time, one waits for the one before. Argo CD
// takes the automation out of such Applications and syncs them itself, in their
// order; it stays in the template, as it is what says that they are pruned.
func (t *tree) serviceSet(name string, wave int) applicationSet {
	const region, order = `{{ index .metadata.labels "` + RegionLabel + `" }}`, `{{ index .metadata.labels "` + OrderLabel + `" }}`
	apps := t.of(name)
	names := []string{}
	for _, a := range apps {
		names = append(names, a.region)
	}
	everywhere := apps[0]
	everywhere.region = region
	set := applicationSet{TypeMeta: typed("ApplicationSet"), ObjectMeta: t.meta(name, wave), Spec: applicationSetSpec{
		GoTemplate:        true,
		GoTemplateOptions: []string{"missingkey=error"},
		Generators: []generator{{Clusters: clusters{Selector: metav1.LabelSelector{
			MatchLabels:      map[string]string{clusterLabel: "cluster"},
			MatchExpressions: []metav1.LabelSelectorRequirement{{Key: RegionLabel, Operator: metav1.LabelSelectorOpIn, Values: names}},
		}}}},
		SyncPolicy:      setPolicy{ApplicationsSync: "create-update", PreserveResourcesOnDeletion: true},
		PreservedFields: preserved{Annotations: []string{approvedAnnotation}},
		Template: template{
			Metadata: templateMeta{
				Name: ApplicationName(name, region),
				Labels: map[string]string{
					"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": string(t.system.Name),
					RegionLabel: region, OrderLabel: order,
				},
				Annotations: map[string]string{pathsAnnotation: "."},
			},
			Spec: applicationSpec{
				Project:           servicesProject,
				Source:            t.source(t.folder(everywhere)),
				Destination:       destination{Name: "{{ .name }}", Namespace: everywhere.namespace},
				SyncPolicy:        policy(),
				IgnoreDifferences: ignored(union(apps)),
			},
		},
	}}
	set.Finalizers = []string{finalizer}
	if len(apps) == 1 || t.system.Deliver.Regions == system.Together {
		// Whoever is called at night can switch it off for a service.
		set.Spec.IgnoreApplicationDifferences = []difference{{JSONPointers: []string{"/spec/syncPolicy/automated"}}}
		return set
	}
	set.Spec.Strategy = &strategy{Type: "RollingSync"}
	for i, r := range t.options.Regions {
		if slices.Contains(names, r.Name) {
			set.Spec.Strategy.RollingSync.Steps = append(set.Spec.Strategy.RollingSync.Steps, step{
				MatchExpressions: []expression{{Key: OrderLabel, Operator: "In", Values: []string{strconv.Itoa(i + 1)}}},
			})
		}
	}
	return set
}

// union are the objects of all regions, each once.
func union(apps []app) []object {
	var objects []object
	seen := map[string]bool{}
	for _, a := range apps {
		for _, o := range a.objects {
			if id := o.id(a.namespace); !seen[id] {
				seen[id] = true
				objects = append(objects, o)
			}
		}
	}
	return objects
}

// ignored are the fields that a controller owns: with Istio's routing Argo Rollouts
// the weights of its two subsets and the pods that they and its Service mean, and the API server's
// trust in a webhook whoever serves that. Everything else is as Git has it. What an
// autoscaler owns is not in Git.
func ignored(objects []object) []difference {
	var list []difference
	for _, o := range objects {
		switch o.kind() {
		case "Rollout":
			list = append(list, shifted(o)...)
		case "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
			fields := []string{".webhooks[]?.clientConfig.caBundle"}
			// istiod lets everything pass until it can judge it.
			if o.kind() == "ValidatingWebhookConfiguration" && strings.HasPrefix(o.name(), "istio") {
				fields = append(fields, ".webhooks[]?.failurePolicy")
			}
			list = append(list, difference{Group: "admissionregistration.k8s.io", Kind: o.kind(), Name: o.name(), JQPathExpressions: fields})
		}
	}
	slices.SortStableFunc(list, func(a, b difference) int { return strings.Compare(a.Kind+"/"+a.Name, b.Kind+"/"+b.Name) })
	return list
}

func shifted(rollout object) []difference {
	routing := object{"istio": rollout.at("spec", "strategy", "canary", "trafficRouting", "istio")}
	rule := routing.text("istio", "destinationRule", "name")
	if rule == "" {
		return nil
	}
	subsets := []string{routing.text("istio", "destinationRule", "stableSubsetName"), routing.text("istio", "destinationRule", "canarySubsetName")}
	istio := func(kind, name, field string) difference {
		return difference{Group: "networking.istio.io", Kind: kind, Name: name, Namespace: rollout.text("metadata", "namespace"), JQPathExpressions: []string{field}}
	}
	list := []difference{istio("DestinationRule", rule, `.spec.subsets[]?.labels["rollouts-pod-template-hash"]`)}
	for _, of := range []string{"canaryService", "stableService"} {
		if name := rollout.text("spec", "strategy", "canary", of); name != "" {
			list = append(list, difference{Kind: "Service", Name: name, Namespace: rollout.text("metadata", "namespace"), JQPathExpressions: []string{`.spec.selector["rollouts-pod-template-hash"]`}})
		}
	}
	routes := []any{routing.at("istio", "virtualService")}
	if several, ok := routing.at("istio", "virtualServices").([]any); ok {
		routes = append(routes, several...)
	}
	for _, route := range routes {
		fields, _ := route.(map[string]any)
		if name := object(fields).text("name"); name != "" {
			list = append(list, istio("VirtualService", name, fmt.Sprintf(
				`.spec.http[]?.route[]? | select(.destination.subset == %q or .destination.subset == %q) | .weight`, subsets[0], subsets[1])))
		}
	}
	return list
}
