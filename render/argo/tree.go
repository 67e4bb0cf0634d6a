package argo

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nines-ha/nines/render"
	"github.com/nines-ha/nines/system"
)

const controlFolder = "argo"

// A tree is a repository that grows.
type tree struct {
	system  *system.System
	options Options
	apps    []app
	files   []render.File
	parsed  map[string][]object // by text: regions have much in common
}

// An app is a folder that Argo CD syncs to one cluster.
type app struct {
	region, name string
	wave         int
	namespace    string
	service      bool
	objects      []object
}

func (t *tree) root() string { return Folder(t.options.Environment) }

// folder is where the files of an app are.
func (t *tree) folder(a app) string {
	kind := "platform"
	if a.service {
		kind = "services"
	}
	return path.Join(t.root(), "regions", a.region, kind, a.name)
}

// of are the apps of a service, in the order of the regions.
func (t *tree) of(service string) []app {
	return slices.DeleteFunc(slices.Clone(t.apps), func(a app) bool { return !a.service || a.name != service })
}

// add writes what a region's cluster holds.
func (t *tree) add(region Region) error {
	parts, err := t.split(region)
	if err != nil {
		return err
	}
	taken := map[string]string{} // a name, a path or an object, and where it is
	claim := func(id, by string) error {
		if other, ok := taken[id]; ok {
			return fmt.Errorf("%s: %s is in %s already; each is there once", by, id, other)
		}
		taken[id] = by
		return nil
	}
	for _, p := range parts {
		folder := t.folder(p.app)
		if err := claim("application "+p.app.name, folder); err != nil {
			return err
		}
		for _, f := range p.files {
			name := path.Join(folder, f.Path)
			switch {
			case !strings.HasPrefix(name, folder+"/"):
				return fmt.Errorf("%s: its path leads out of %s", name, folder)
			case path.Ext(name) != ".yaml":
				return fmt.Errorf("%s: what is no .yaml is not synced", name)
			}
			if err := claim("file "+name, folder); err != nil {
				return err
			}
			body, objects, err := t.annotate(f)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			for _, o := range objects {
				if err := claim(o.id(p.app.namespace), name); err != nil {
					return err
				}
			}
			p.app.objects = append(p.app.objects, objects...)
			t.files = append(t.files, render.File{Path: name, Body: body})
		}
		t.apps = append(t.apps, p.app)
	}
	return nil
}

// control is what says how the rest is synced.
func (t *tree) control() ([]render.File, error) {
	files := render.NewSet(path.Join(t.root(), controlFolder))
	files.Add("root-project.yaml", t.rootProject())
	files.Add("root.yaml", t.rootApplication())
	files.Add("projects/platform.yaml", t.project(platformProject, "What the services stand on. Only it may make objects of a whole cluster.", false, baseKinds))
	files.Add("projects/services.yaml", t.project(servicesProject, "The services of "+string(t.system.Name)+", in their namespace.", true, serviceKinds))
	last := 0
	var services []string
	for _, a := range t.apps {
		if a.service {
			services = append(services, a.name)
			continue
		}
		files.Add(path.Join("platform", a.region, a.name+".yaml"), t.component(a))
		last = max(last, a.wave)
	}
	slices.Sort(services)
	for _, name := range slices.Compact(services) {
		files.Add(path.Join("services", name+".yaml"), t.serviceSet(name, last+1))
	}
	return files.Files()
}

func (t *tree) meta(name string, wave int) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: name, Namespace: Namespace,
		Labels:      map[string]string{"app.kubernetes.io/part-of": string(t.system.Name), "app.kubernetes.io/managed-by": "nines"},
		Annotations: map[string]string{waveAnnotation: strconv.Itoa(wave)},
	}
}
