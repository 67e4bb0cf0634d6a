package argo

import (
	"cmp"
	"slices"
)

const (
	platformProject = "platform"
	servicesProject = "services"
	rootProject     = "root"
)

// What the renderers make for a service, and for all services of a system. These
// are permitted whether or not one is there: Argo CD does not see objects that are
// not permitted, so that the last of a kind, once out of Git, would live on.
var (
	serviceKinds = []groupKind{
		{"", "ConfigMap"}, {"", "Service"}, {"", "ServiceAccount"},
		{"apps", "Deployment"}, {"argoproj.io", "AnalysisTemplate"}, {"argoproj.io", "Rollout"},
		{"autoscaling", "HorizontalPodAutoscaler"}, {"policy", "PodDisruptionBudget"},
		{"networking.istio.io", "DestinationRule"}, {"networking.istio.io", "Sidecar"}, {"networking.istio.io", "VirtualService"},
		{"security.istio.io", "AuthorizationPolicy"},
	}
	baseKinds = []groupKind{
		{"networking.istio.io", "DestinationRule"}, {"networking.istio.io", "Gateway"}, {"networking.istio.io", "ServiceEntry"},
		{"security.istio.io", "AuthorizationPolicy"}, {"security.istio.io", "PeerAuthentication"},
	}
)

// project permits what is there to be synced, and nothing else.
func (t *tree) project(name, description string, services bool, kinds []groupKind) appProject {
	custom := scopes(t.apps)
	permitted := slices.Clone(kinds)
	var cluster []groupKind
	var places []destination
	for _, a := range t.apps {
		if a.service != services {
			continue
		}
		places = append(places, destination{Name: a.region, Namespace: a.namespace})
		for _, o := range a.objects {
			kind := o.groupKind()
			if whole, known := custom[kind]; known && whole || !known && slices.Contains(wide, kind.Kind) {
				cluster = append(cluster, kind)
				continue
			}
			permitted = append(permitted, kind)
			if namespace := o.text("metadata", "namespace"); namespace != "" {
				places = append(places, destination{Name: a.region, Namespace: namespace})
			}
		}
	}
	project := appProject{TypeMeta: typed("AppProject"), ObjectMeta: t.meta(name, -1), Spec: appProjectSpec{
		Description:                description,
		SourceRepos:                []string{t.options.Repository},
		Destinations:               places,
		ClusterResourceWhitelist:   ordered(cluster),
		NamespaceResourceWhitelist: ordered(permitted),
	}}
	slices.SortFunc(project.Spec.Destinations, func(a, b destination) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Namespace, b.Namespace))
	})
	project.Spec.Destinations = slices.Compact(project.Spec.Destinations)
	return project
}

func ordered(kinds []groupKind) []groupKind {
	kinds = slices.Clone(kinds)
	slices.SortFunc(kinds, func(a, b groupKind) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Kind, b.Kind))
	})
	return slices.Compact(kinds)
}

// rootProject is what says what all others may: who can commit to its folder is
// an administrator of the clusters.
func (t *tree) rootProject() appProject {
	return appProject{TypeMeta: typed("AppProject"), ObjectMeta: t.meta(rootProject, -1), Spec: appProjectSpec{
		Description:  "The projects and Applications themselves: who may change them may change everything.",
		SourceRepos:  []string{t.options.Repository},
		Destinations: []destination{{Server: inCluster, Namespace: Namespace}},
		NamespaceResourceWhitelist: []groupKind{
			{"argoproj.io", "AppProject"}, {"argoproj.io", "Application"}, {"argoproj.io", "ApplicationSet"},
		},
	}}
}
