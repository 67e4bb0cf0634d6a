package argo_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nines-ha/nines/render"
	"github.com/nines-ha/nines/render/argo"
)

func TestReadIsTheWayBack(t *testing.T) {
	for name, tree := range trees {
		sys, o := tree(t)
		files := rendered(t, tree)
		read, err := argo.Read(sys, files, o.Environment)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, err := argo.Render(sys, read)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(content(files), content(again)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// One service of one region is released: nothing else changes.
func TestReleaseOfOneRegion(t *testing.T) {
	sys, _ := regions(t)
	before := rendered(t, regions)
	o, err := argo.Read(sys, before, "local")
	if err != nil {
		t.Fatal(err)
	}
	const image = "registry.example.com/fleet/command@sha256:abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789"
	first := &o.Regions[0]
	for i, f := range first.Services {
		if f.Path == "apps/fleet/command/deployment.yaml" {
			first.Services[i].Body = []byte(strings.ReplaceAll(string(f.Body), "registry.example.com/fleet/command"+digest, image))
		}
	}
	after, err := argo.Render(sys, o)
	if err != nil {
		t.Fatal(err)
	}
	var changed []string
	for name, body := range content(after) {
		if content(before)[name] != body {
			changed = append(changed, name)
		}
	}
	if diff := cmp.Diff([]string{"environments/local/regions/westeurope/services/command/deployment.yaml"}, changed); diff != "" {
		t.Error(diff)
	}
	for region, want := range map[string]string{"westeurope": image, "northeurope": "registry.example.com/fleet/command" + digest} {
		images, err := argo.Releases(after, "local", region)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{"command": want, "vehicle": "registry.example.com/fleet/vehicle" + digest}, images); diff != "" {
			t.Errorf("%s: %s", region, diff)
		}
	}
}

// A service that is new is in the first region at first, one that is to go is gone
// from there first; each is synced where it is.
func TestServiceOfOneRegion(t *testing.T) {
	sys, o := regions(t)
	o.Regions[1].Services = slices.DeleteFunc(o.Regions[1].Services, func(f render.File) bool { return strings.Contains(f.Path, "/command/") })
	o.Regions[0].Services = slices.DeleteFunc(o.Regions[0].Services, func(f render.File) bool { return strings.Contains(f.Path, "/vehicle/") })
	sys.Services = sys.Services[:1]
	files, err := argo.Render(sys, o)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range applications(t, objects(t, files)) {
		if a.project == "services" {
			got = append(got, a.name)
		}
	}
	if diff := cmp.Diff([]string{"command-westeurope", "vehicle-northeurope"}, got); diff != "" {
		t.Error(diff)
	}
	read, err := argo.Read(sys, files, "local")
	if err != nil {
		t.Fatal(err)
	}
	again, err := argo.Render(sys, read)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(content(files), content(again)); diff != "" {
		t.Error(diff)
	}
}

func TestReadRefuses(t *testing.T) {
	sys, _ := regions(t)
	files := rendered(t, regions)
	if _, err := argo.Read(sys, files, "mars"); err == nil || !strings.Contains(err.Error(), "environments/mars/argo/root.yaml") {
		t.Error(err)
	}
	if _, err := argo.Releases(files, "local", "mars"); err == nil || !strings.Contains(err.Error(), "regions/mars") {
		t.Error(err)
	}
	var less []render.File
	for _, f := range files {
		if !strings.HasSuffix(f.Path, "argo/platform/northeurope/mesh.yaml") {
			less = append(less, f)
		}
	}
	if _, err := argo.Read(sys, less, "local"); err == nil || !strings.Contains(err.Error(), "platform/northeurope/mesh.yaml") {
		t.Error(err)
	}
}

func TestRenderRefuses(t *testing.T) {
	for want, damage := range map[string]func(*argo.Options){
		"Secret store has data":              with("kind: Secret\napiVersion: v1\nmetadata: {name: store}\nstringData: {password: x}\n"),
		"Secret odd has data":                with("kind: Secret\napiVersion: v1\nmetadata: {name: odd}\ndata: x\n"),
		"no apiVersion, kind or":             with("a: b\n"),
		"write its items one by one":         with("kind: ConfigMapList\napiVersion: v1\nmetadata: {name: x}\nitems: []\n"),
		"synced with Replace=true":           with("kind: Service\napiVersion: v1\nmetadata: {name: x, annotations: {argocd.argoproj.io/sync-options: 'Prune=false, Replace=true'}}\n"),
		"platform/extra/x.yaml":              with("a: [\n"),
		"ServiceAccount fleet/vehicle is in": with("kind: ServiceAccount\napiVersion: v1\nmetadata: {name: vehicle, namespace: fleet}\n"),
		"a wave from 0":                      func(o *argo.Options) { o.Regions[0].Platform[0].Wave = -1 },
		"other than base":                    func(o *argo.Options) { o.Regions[0].Platform[0].Name = argo.Base },
		"application vehicle is in":          func(o *argo.Options) { o.Regions[0].Platform[0].Name = "vehicle" },
		"is in no region":                    func(o *argo.Options) { o.Regions[0].Services, o.Regions[1].Services = nil, nil },
		"neither of the system":              func(o *argo.Options) { o.Regions[0].Services[0].Path = "etc/passwd" },
		"the repository's address":           func(o *argo.Options) { o.Repository = "" },
		"the files below rules/ are":         func(o *argo.Options) { o.Regions[0].Platform[0].Files[0].Path = "rules/x.yaml" },
		"its path leads out of":              func(o *argo.Options) { o.Regions[0].Platform[0].Files[0].Path = "../x.yaml" },
		"what is no .yaml":                   func(o *argo.Options) { o.Regions[0].Platform[0].Files[0].Path = "x.tmpl" },
		"platform/mesh/x.yaml is in": func(o *argo.Options) {
			o.Regions[0].Platform[0].Files = append(o.Regions[0].Platform[0].Files, twice...)
		},
	} {
		sys, o := regions(t)
		damage(&o)
		if _, err := argo.Render(sys, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %q", err, want)
		}
	}
}

var twice = []render.File{
	{Path: "x.yaml", Body: []byte("kind: ConfigMap\napiVersion: v1\nmetadata: {name: x1}\n")},
	{Path: "x.yaml", Body: []byte("kind: ConfigMap\napiVersion: v1\nmetadata: {name: x2}\n")},
}

func with(body string) func(*argo.Options) {
	return func(o *argo.Options) {
		o.Regions[1].Platform = append(o.Regions[1].Platform, argo.Component{
			Name: "extra", Wave: 3, Namespace: "extra", Files: []render.File{{Path: "x.yaml", Body: []byte(body)}},
		})
	}
}

func content(files []render.File) map[string]string {
	all := map[string]string{}
	for _, f := range files {
		all[f.Path] = string(f.Body)
	}
	return all
}
