package argo_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/nines-ha/nines/render"
	"github.com/nines-ha/nines/render/argo"
	"github.com/nines-ha/nines/system"
)

// What these tests say of a repository they find out from its files alone, as
// Argo CD does.

type found struct {
	path   string
	kind   string
	fields map[string]any
}

func (f found) control() bool { return strings.Contains(f.path, "/argo/") }

func (f found) object() unstructured.Unstructured { return unstructured.Unstructured{Object: f.fields} }

func (f found) text(fields ...string) string {
	text, _, _ := unstructured.NestedString(f.fields, fields...)
	return text
}

func (f found) list(fields ...string) []any {
	list, _, _ := unstructured.NestedSlice(f.fields, fields...)
	return list
}

func objects(t *testing.T, files []render.File) []found {
	t.Helper()
	var all []found
	for _, f := range files {
		if path.Ext(f.Path) != ".yaml" {
			continue
		}
		if !bytes.HasPrefix(f.Body, []byte(render.Header)) {
			t.Errorf("%s has no header", f.Path)
		}
		reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(f.Body)))
		for {
			document, err := reader.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			fields := map[string]any{}
			if err == nil {
				err = yaml.UnmarshalStrict(document, &fields)
			}
			if err != nil {
				t.Fatalf("%s: %v", f.Path, err)
			}
			o := found{f.Path, fmt.Sprint(fields["kind"]), fields}
			if object := o.object(); object.GetAPIVersion() == "" || object.GetKind() == "" || object.GetName() == "" {
				t.Errorf("%s: no Kubernetes object: %v", f.Path, fields)
			}
			all = append(all, o)
		}
	}
	return all
}

// An application is one that Argo CD would have, made from an Application or, for
// each region, from an ApplicationSet.
type application struct {
	name, project, path, region, namespace string
	spec                                   found
	objects                                []found
}

func applications(t *testing.T, all []found) []application {
	t.Helper()
	var list []application
	for _, o := range all {
		switch o.kind {
		case "Application":
			list = append(list, application{name: o.text("metadata", "name"), spec: o})
		case "ApplicationSet":
			for _, g := range o.list("spec", "generators") {
				selector, _, _ := unstructured.NestedSlice(g.(map[string]any), "clusters", "selector", "matchExpressions")
				for _, region := range selector[0].(map[string]any)["values"].([]any) {
					pattern, _, _ := unstructured.NestedMap(o.fields, "spec", "template")
					fields := fill(t, pattern, region.(string)).(map[string]any)
					made := found{o.path, "Application", fields}
					list = append(list, application{name: made.text("metadata", "name"), spec: made})
				}
			}
		}
	}
	for i := range list {
		a := &list[i]
		a.project, a.path = a.spec.text("spec", "project"), a.spec.text("spec", "source", "path")
		a.region, a.namespace = a.spec.text("spec", "destination", "name"), a.spec.text("spec", "destination", "namespace")
		for _, o := range all {
			if strings.HasPrefix(o.path, a.path+"/") {
				a.objects = append(a.objects, o)
			}
		}
	}
	return list
}

// fill does what Argo CD does with the Secret of a cluster.
func fill(t *testing.T, pattern any, region string) any {
	t.Helper()
	switch pattern := pattern.(type) {
	case map[string]any:
		for key, value := range pattern {
			pattern[key] = fill(t, value, region)
		}
	case []any:
		for i, value := range pattern {
			pattern[i] = fill(t, value, region)
		}
	case string:
		parsed, err := template.New("").Option("missingkey=error").Parse(pattern)
		var text strings.Builder
		if err == nil {
			err = parsed.Execute(&text, map[string]any{"name": region, "metadata": map[string]any{
				"labels": map[string]any{argo.RegionLabel: region, argo.OrderLabel: "1"},
			}})
		}
		if err != nil {
			t.Fatal(err)
		}
		return text.String()
	}
	return pattern
}

func TestEachObjectHasOneOwner(t *testing.T) {
	for name, tree := range trees {
		all := objects(t, rendered(t, tree))
		owners := map[string][]string{}
		names := map[string]bool{}
		for _, a := range applications(t, all) {
			if names[a.name] {
				t.Errorf("%s: two Applications are called %s", name, a.name)
			}
			names[a.name] = true
			if len(a.objects) == 0 {
				t.Errorf("%s: %s syncs %s, and there is nothing", name, a.name, a.path)
			}
			for _, o := range a.objects {
				owners[o.path] = append(owners[o.path], a.name)
			}
		}
		for _, o := range all {
			if len(slices.Compact(slices.Clone(owners[o.path]))) != 1 {
				t.Errorf("%s: %s belongs to %v, want one", name, o.path, owners[o.path])
			}
		}
	}
}

// kindsOfClusters are those among the objects of these tests.
var kindsOfClusters = []string{"Namespace", "ClusterRole", "CustomResourceDefinition", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "ClusterAnalysisTemplate"}

// As Argo CD judges it: a kind, a cluster, a namespace and a repository that the
// project does not name are refused. And a project has no wildcard.
func TestProjectsPermitWhatIsThere(t *testing.T) {
	for name, tree := range trees {
		all := objects(t, rendered(t, tree))
		projects := map[string]found{}
		for _, o := range all {
			if o.kind == "AppProject" {
				projects[o.text("metadata", "name")] = o
				if text, _ := yaml.Marshal(o.fields["spec"]); strings.Contains(string(text), "*") {
					t.Errorf("%s: project %s has a wildcard", name, o.text("metadata", "name"))
				}
			}
		}
		for _, a := range applications(t, all) {
			project, ok := projects[a.project]
			if !ok {
				t.Errorf("%s: %s is in project %q, which is not there", name, a.name, a.project)
				continue
			}
			if !slices.Contains(project.list("spec", "sourceRepos"), any(a.spec.text("spec", "source", "repoURL"))) {
				t.Errorf("%s: %s may not read its repository", name, a.name)
			}
			server := a.spec.text("spec", "destination", "server")
			place := func(namespace string) bool {
				return slices.ContainsFunc(project.list("spec", "destinations"), func(d any) bool {
					at := found{fields: d.(map[string]any)}
					return at.text("namespace") == namespace && at.text("name") == a.region && at.text("server") == server
				})
			}
			if !place(a.namespace) {
				t.Errorf("%s: %s may not go to %s in %s%s", name, a.name, a.namespace, a.region, server)
			}
			for _, o := range a.objects {
				object := o.object()
				list := "namespaceResourceWhitelist"
				if slices.Contains(kindsOfClusters, o.kind) {
					list = "clusterResourceWhitelist"
				} else if namespace := object.GetNamespace(); namespace != "" && !place(namespace) {
					t.Errorf("%s: %s may not make %s in %s of %s", name, a.name, o.kind, namespace, a.region)
				}
				if !slices.ContainsFunc(project.list("spec", list), func(k any) bool {
					kind := k.(map[string]any)
					return kind["group"] == object.GroupVersionKind().Group && kind["kind"] == o.kind
				}) {
					t.Errorf("%s: %s may not make a %s", name, a.name, object.GroupVersionKind())
				}
			}
		}
	}
}

// A service cannot make what the cluster or another service stands on.
func TestServicesMayLittle(t *testing.T) {
	for _, o := range objects(t, rendered(t, regions)) {
		if o.kind != "AppProject" || o.text("metadata", "name") != "services" {
			continue
		}
		if kinds := o.list("spec", "clusterResourceWhitelist"); len(kinds) > 0 {
			t.Errorf("services may make %v in a cluster", kinds)
		}
		for _, k := range o.list("spec", "namespaceResourceWhitelist") {
			switch kind := k.(map[string]any)["kind"]; kind {
			case "Role", "RoleBinding", "Secret", "Gateway", "PeerAuthentication", "ServiceEntry", "NetworkPolicy":
				t.Errorf("services may make a %s", kind)
			}
		}
		for _, d := range o.list("spec", "destinations") {
			if namespace := d.(map[string]any)["namespace"]; namespace != "fleet" {
				t.Errorf("services may go to %s", namespace)
			}
		}
		return
	}
	t.Fatal("there is no project services")
}

// An ignored field is one of an object that is there, and nothing more than what
// another controller writes.
func TestIgnoredFieldsAreThere(t *testing.T) {
	ignored := 0
	for _, a := range applications(t, objects(t, rendered(t, regions))) {
		for _, d := range a.spec.list("spec", "ignoreDifferences") {
			difference := found{fields: d.(map[string]any)}
			at := slices.IndexFunc(a.objects, func(o found) bool {
				object := o.object()
				return o.kind == difference.text("kind") && object.GroupVersionKind().Group == difference.text("group") &&
					object.GetName() == difference.text("name") && object.GetNamespace() == difference.text("namespace")
			})
			if at < 0 {
				t.Errorf("%s ignores fields of %s %s, which it has not", a.name, difference.text("kind"), difference.text("name"))
				continue
			}
			for _, expression := range difference.list("jqPathExpressions") {
				ignored++
				if !owned(a.objects[at], expression.(string)) {
					t.Errorf("%s ignores %s of %s %s, and there is nothing like it", a.name, expression, difference.text("kind"), difference.text("name"))
				}
			}
			if len(difference.list("jsonPointers"))+len(difference.list("managedFieldsManagers")) > 0 {
				t.Errorf("%s ignores more than a field: %v", a.name, difference.fields)
			}
		}
	}
	// In each region a DestinationRule, the canary's Service, two VirtualServices and
	// three of webhooks.
	if ignored != 14 {
		t.Errorf("%d fields are ignored, want 14", ignored)
	}
}

// owned says whether what holds the field is there, or the field itself.
func owned(o found, expression string) bool {
	some := func(list []any, of ...string) bool {
		return slices.ContainsFunc(list, func(e any) bool {
			_, there, _ := unstructured.NestedFieldNoCopy(e.(map[string]any), of...)
			return there
		})
	}
	switch expression {
	case `.webhooks[]?.clientConfig.caBundle`:
		return some(o.list("webhooks"), "clientConfig")
	case `.webhooks[]?.failurePolicy`:
		return some(o.list("webhooks"), "failurePolicy")
	case `.spec.selector["rollouts-pod-template-hash"]`:
		_, there, _ := unstructured.NestedFieldNoCopy(o.fields, "spec", "selector")
		return there
	case `.spec.subsets[]?.labels["rollouts-pod-template-hash"]`:
		return some(o.list("spec", "subsets"), "labels")
	case `.spec.http[]?.route[]? | select(.destination.subset == "stable" or .destination.subset == "canary") | .weight`:
		for _, http := range o.list("spec", "http") {
			routes := http.(map[string]any)["route"].([]any)
			if some(routes, "destination", "subset") && some(routes, "weight") {
				return true
			}
		}
	}
	return false
}

// Of a region's objects those come first that others need.
func TestOrder(t *testing.T) {
	all := objects(t, rendered(t, regions))
	wave := func(kind, name string) int {
		for _, o := range all {
			if o.kind == kind && o.text("metadata", "name") == name && !strings.Contains(o.path, "northeurope") {
				object := o.object()
				text := object.GetAnnotations()["argocd.argoproj.io/sync-wave"]
				if n, err := strconv.Atoi(text); err == nil || text == "" {
					return n
				}
				t.Errorf("%s %s has the wave %q", kind, name, text)
			}
		}
		t.Errorf("there is no %s %s", kind, name)
		return 0
	}
	for _, order := range [][]int{
		{wave("AppProject", "platform"), wave("Application", "mesh-westeurope"), wave("Application", "rollouts-westeurope"),
			wave("Application", "base-westeurope"), wave("ApplicationSet", "vehicle")},
		{wave("CustomResourceDefinition", "virtualservices.networking.istio.io"), wave("Namespace", "aks-istio-system"),
			wave("ConfigMap", "istio-shared-configmap-asm-1-31"), wave("MutatingWebhookConfiguration", "istio-sidecar-injector"), wave("Deployment", "istiod")},
		{wave("ServiceAccount", "vehicle"), wave("DestinationRule", "vehicle"), wave("VirtualService", "vehicle"), wave("Rollout", "vehicle")},
	} {
		if !slices.IsSorted(order) || len(slices.Compact(slices.Clone(order))) != len(order) {
			t.Errorf("waves %v, want each above the one before", order)
		}
	}
	if own := wave("Deployment", "argo-rollouts"); own != 2 {
		t.Errorf("the wave that a file gives itself became %d", own)
	}
}

func TestWhatIsDeletedUnasked(t *testing.T) {
	for _, o := range objects(t, rendered(t, regions)) {
		object := o.object()
		if options := object.GetAnnotations()["argocd.argoproj.io/sync-options"]; (options == "Prune=confirm,Delete=confirm") != slices.Contains([]string{
			"Namespace", "CustomResourceDefinition", "Service", "ServiceAccount", "Deployment", "Rollout", "PodDisruptionBudget", "Gateway", "PeerAuthentication", "AuthorizationPolicy",
		}, o.kind) {
			t.Errorf("%s: a %s has the options %q", o.path, o.kind, options)
		}
		if o.kind == "Application" && len(object.GetFinalizers()) > 0 {
			t.Errorf("%s: deleting it would delete what it applied", o.path)
		}
		if o.kind != "ApplicationSet" {
			continue
		}
		keep, _, _ := unstructured.NestedBool(o.fields, "spec", "syncPolicy", "preserveResourcesOnDeletion")
		if o.text("spec", "syncPolicy", "applicationsSync") != "create-update" || !keep || len(object.GetFinalizers()) != 1 {
			t.Errorf("%s: a generator that finds nothing would delete Applications", o.path)
		}
	}
}

// Where there is nothing to wait for, Argo CD heals by itself.
func TestRegionsAreRolledInOrder(t *testing.T) {
	together := func(t *testing.T) (*system.System, argo.Options) {
		sys, o := regions(t)
		sys.Deliver.Regions = system.Together
		return sys, o
	}
	for name, c := range map[string]struct {
		tree func(*testing.T) (*system.System, argo.Options)
		want []string
	}{"one region": {fleet, nil}, "one at a time": {regions, []string{"1", "2"}}, "together": {together, nil}} {
		want := c.want
		for _, o := range objects(t, rendered(t, c.tree)) {
			if o.kind != "ApplicationSet" {
				continue
			}
			var got []string
			for _, s := range o.list("spec", "strategy", "rollingSync", "steps") {
				for _, e := range s.(map[string]any)["matchExpressions"].([]any) {
					for _, v := range e.(map[string]any)["values"].([]any) {
						got = append(got, v.(string))
					}
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %s has the steps %v, want %v", name, o.path, got, want)
			}
		}
	}
}

func TestBootstrap(t *testing.T) {
	files := rendered(t, regions)
	got := objects(t, argo.Bootstrap(files, "local"))
	if len(got) != 2 || got[0].kind != "AppProject" || got[1].kind != "Application" {
		t.Fatalf("%v", got)
	}
	if source := got[1].text("spec", "source", "path"); !strings.HasPrefix(got[1].path, source+"/") {
		t.Errorf("the root syncs %s and is at %s: nobody would sync a change of it", source, got[1].path)
	}
	if left := argo.Bootstrap(files, "mars"); len(left) != 0 {
		t.Errorf("an environment that is not there is bootstrapped from %v", left)
	}
}
