package argo

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// What of Argo CD's types is rendered. Its own Go package cannot be used: it
// replaces all of Kubernetes' modules by older ones, and takes its whole server
// along. A test holds every rendered object against the schemas of Argo CD's own
// CustomResourceDefinitions, in which a misspelt field is an error.

const (
	apiVersion     = "argoproj.io/v1alpha1"
	waveAnnotation = "argocd.argoproj.io/sync-wave"
	// optionsAnnotation holds options of one object.
	optionsAnnotation = "argocd.argoproj.io/sync-options"
	hookAnnotation    = "argocd.argoproj.io/hook"
	// pathsAnnotation, on an Application: what commits it looks at.
	pathsAnnotation = "argocd.argoproj.io/manifest-generate-paths"
	// approvedAnnotation, on an Application: a person says when, and guarded objects go.
	approvedAnnotation = "argocd.argoproj.io/deletion-approved"
	// regionsAnnotation, on the root: the regions in their order, for Read.
	regionsAnnotation = "nines.dev/regions"
	finalizer         = "resources-finalizer.argocd.argoproj.io"
	clusterLabel      = "argocd.argoproj.io/secret-type"
	inCluster         = "https://kubernetes.default.svc"
)

type application struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              applicationSpec `json:"spec"`
}

type applicationSpec struct {
	Project           string       `json:"project"`
	Source            source       `json:"source"`
	Destination       destination  `json:"destination"`
	SyncPolicy        syncPolicy   `json:"syncPolicy"`
	IgnoreDifferences []difference `json:"ignoreDifferences,omitempty"`
}

type source struct {
	RepoURL        string    `json:"repoURL"`
	TargetRevision string    `json:"targetRevision"`
	Path           string    `json:"path"`
	Directory      directory `json:"directory"`
}

type directory struct {
	Recurse bool `json:"recurse"`
}

type destination struct {
	Server    string `json:"server,omitempty"`
	Name      string `json:"name,omitempty"`
	Namespace string `json:"namespace"`
}

type syncPolicy struct {
	Automated   automated `json:"automated"`
	SyncOptions []string  `json:"syncOptions"`
	Retry       retry     `json:"retry"`
}

// What is false is left out: Argo CD writes its objects anew without it, and a
// difference would stay for ever. allowEmpty is false by being absent.
type automated struct {
	Prune    bool `json:"prune"`
	SelfHeal bool `json:"selfHeal"`
}

type retry struct {
	Limit   int     `json:"limit"`
	Backoff backoff `json:"backoff"`
	Refresh bool    `json:"refresh"`
}

type backoff struct {
	Duration    string `json:"duration"`
	Factor      int    `json:"factor"`
	MaxDuration string `json:"maxDuration"`
}

type difference struct {
	Group             string   `json:"group,omitempty"`
	Kind              string   `json:"kind,omitempty"`
	Name              string   `json:"name,omitempty"`
	Namespace         string   `json:"namespace,omitempty"`
	JQPathExpressions []string `json:"jqPathExpressions,omitempty"`
	JSONPointers      []string `json:"jsonPointers,omitempty"`
}

type appProject struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              appProjectSpec `json:"spec"`
}

type appProjectSpec struct {
	Description                string        `json:"description"`
	SourceRepos                []string      `json:"sourceRepos"`
	Destinations               []destination `json:"destinations"`
	ClusterResourceWhitelist   []groupKind   `json:"clusterResourceWhitelist,omitempty"`
	NamespaceResourceWhitelist []groupKind   `json:"namespaceResourceWhitelist"`
}

type groupKind struct {
	Group string `json:"group"`
	Kind  string `json:"kind"`
}

type applicationSet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              applicationSetSpec `json:"spec"`
}

type applicationSetSpec struct {
	GoTemplate                   bool         `json:"goTemplate"`
	GoTemplateOptions            []string     `json:"goTemplateOptions"`
	Generators                   []generator  `json:"generators"`
	Strategy                     *strategy    `json:"strategy,omitempty"`
	SyncPolicy                   setPolicy    `json:"syncPolicy"`
	IgnoreApplicationDifferences []difference `json:"ignoreApplicationDifferences,omitempty"`
	PreservedFields              preserved    `json:"preservedFields"`
	Template                     template     `json:"template"`
}

type generator struct {
	Clusters clusters `json:"clusters"`
}

type clusters struct {
	Selector metav1.LabelSelector `json:"selector"`
}

type strategy struct {
	Type        string      `json:"type"`
	RollingSync rollingSync `json:"rollingSync"`
}

type rollingSync struct {
	Steps []step `json:"steps"`
}

type step struct {
	MatchExpressions []expression `json:"matchExpressions"`
}

type expression struct {
	Key      string   `json:"key"`
	Operator string   `json:"operator"`
	Values   []string `json:"values"`
}

type setPolicy struct {
	ApplicationsSync            string `json:"applicationsSync"`
	PreserveResourcesOnDeletion bool   `json:"preserveResourcesOnDeletion"`
}

type preserved struct {
	Annotations []string `json:"annotations"`
}

type template struct {
	Metadata templateMeta    `json:"metadata"`
	Spec     applicationSpec `json:"spec"`
}

type templateMeta struct {
	Name        string            `json:"name"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func typed(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}
