// Package argo renders the GitOps repository of a described system: what Argo CD
// syncs, and the Applications, ApplicationSets and AppProjects that say how. Call
// Render, and Bootstrap for what is applied by hand; Read takes a repository back
// to what it was rendered from, and Releases says which images it runs. It is
// pure: same system and options, same bytes. README.md, which it puts beside the
// environments, says how they are laid out.
//
// It renders no object of a service or of the platform itself: those come in as
// files, and go out with the annotations that tell Argo CD in which order they are
// applied and what must not be deleted unasked.
package argo

import (
	_ "embed"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nines-ha/nines/render"
	"github.com/nines-ha/nines/system"
)

// What Argo CD must have, and what a cluster's Secret there must say: its name is
// the region's, RegionLabel too, and OrderLabel is "1" for the first region that
// is rolled, "2" for the next. Take RegionLabel off a region that is lost, and the
// others no longer wait for it.
const (
	Namespace   = "argocd"
	Branch      = "main"
	RegionLabel = "nines.dev/region"
	OrderLabel  = "nines.dev/order"

	// Mesh is the name of the component that gets the rules for the whole mesh.
	// Where there is none, as on AKS, Base has them.
	Mesh = "mesh"
	// Base is the component that Render makes itself: the namespace of the
	// system, and what holds for all services in it.
	Base = "base"
)

// Options say what is rendered besides what the description says.
type Options struct {
	Environment string   // a folder below environments
	Repository  string   // its address, as Argo CD reaches it
	Regions     []Region // in the order in which they are rolled; Argo CD is in the first
}

// A Region is a cluster that Argo CD knows by the region's name.
type Region struct {
	Name     string
	Platform []Component
	Services []render.File // what render/kubernetes and render/istio print for it
}

// A Component is a part of the platform. Those of a wave are applied once all of
// the wave before are healthy.
type Component struct {
	Name      string
	Wave      int
	Namespace string // where objects go that do not say it
	Files     []render.File
}

//go:embed README.md
var readme string

// Render returns the repository, sorted by path.
func Render(sys *system.System, o Options) ([]render.File, error) {
	files, err := renderAll(sys, o)
	if err != nil {
		return nil, fmt.Errorf("render the repository of %s: %w", sys.Name, err)
	}
	slices.SortFunc(files, func(a, b render.File) int { return strings.Compare(a.Path, b.Path) })
	return files, nil
}

func renderAll(sys *system.System, o Options) ([]render.File, error) {
	if o.Environment == "" || o.Repository == "" || len(o.Regions) == 0 {
		return nil, fmt.Errorf("an environment, the repository's address and a region are needed")
	}
	r := tree{system: sys, options: o, written: map[string][]object{}}
	for _, region := range o.Regions {
		if err := r.add(region); err != nil {
			return nil, fmt.Errorf("region %s: %w", region.Name, err)
		}
	}
	control, err := r.control()
	if err != nil {
		return nil, err
	}
	all := append(control, r.files...)
	return append(all, render.File{Path: "environments/README.md", Body: []byte(render.Header + "\n" + readme)}), nil
}

// A tree is a repository that grows.
type tree struct {
	system  *system.System
	options Options
	apps    []app
	files   []render.File
	written map[string][]object // what a text holds; regions have much in common
}

// An app is a folder that Argo CD syncs to one cluster.
type app struct {
	region, name string
	wave         int
	namespace    string
	service      bool
	objects      []object
}

// add writes what a region's cluster holds.
func (t *tree) add(region Region) error {
	components, services, err := t.split(region)
	if err != nil {
		return err
	}
	seen := map[string]string{}
	names := map[string]bool{}
	paths := map[string]bool{}
	for _, a := range append(components, services...) {
		if names[a.app.name] {
			return fmt.Errorf("there is more than one %q; give a service or a component another name", a.app.name)
		}
		names[a.app.name] = true
		for _, f := range a.files {
			name := path.Join(t.folder(a.app), f.Path)
			if err := t.admit(name, t.folder(a.app), paths); err != nil {
				return err
			}
			body, objects, err := t.annotate(f)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			for _, o := range objects {
				id := o.id(a.app.namespace)
				if other, taken := seen[id]; taken {
					return fmt.Errorf("%s: %s is in %s already; an object has one owner", name, id, other)
				}
				seen[id] = name
			}
			a.app.objects = append(a.app.objects, objects...)
			t.files = append(t.files, render.File{Path: name, Body: body})
		}
		t.apps = append(t.apps, a.app)
	}
	return nil
}

// admit refuses a path at which Argo CD would not find a file, or another one.
func (t *tree) admit(name, folder string, paths map[string]bool) error {
	switch {
	case !strings.HasPrefix(name, folder+"/"):
		return fmt.Errorf("%s is a path that leads out of %s", name, folder)
	case path.Ext(name) != ".yaml":
		return fmt.Errorf("%s: a file that is no .yaml is not synced", name)
	case paths[name]:
		return fmt.Errorf("%s is there more than once", name)
	}
	paths[name] = true
	return nil
}

type folder struct {
	app   app
	files []render.File
}

// split says which file belongs to which component or service.
func (t *tree) split(region Region) (components, services []folder, err error) {
	last := -1
	for _, c := range region.Platform {
		if c.Name == "" || c.Name == Base || c.Wave < 0 || c.Namespace == "" {
			return nil, nil, fmt.Errorf("component %q, wave %d, namespace %q: want a name other than %s, a wave from 0 and a namespace", c.Name, c.Wave, c.Namespace, Base)
		}
		if slices.ContainsFunc(c.Files, func(f render.File) bool { return strings.HasPrefix(f.Path, rulesFolder) }) {
			return nil, nil, fmt.Errorf("component %s: the files below rules are its mesh's; name its own otherwise", c.Name)
		}
		last = max(last, c.Wave)
		components = append(components, folder{app{region: region.Name, name: c.Name, wave: c.Wave, namespace: c.Namespace}, c.Files})
	}
	base := folder{app: app{region: region.Name, name: Base, wave: last + 1, namespace: string(t.system.Name)}}
	mesh := slices.IndexFunc(components, func(c folder) bool { return c.app.name == Mesh })
	for _, s := range t.system.Services {
		services = append(services, folder{app: app{region: region.Name, name: string(s.Name), namespace: string(t.system.Name), service: true}})
	}
	for _, f := range region.Services {
		rest, own := strings.CutPrefix(f.Path, path.Join("apps", string(t.system.Name))+"/")
		first, name, deep := strings.Cut(rest, "/")
		of := slices.IndexFunc(services, func(s folder) bool { return s.app.name == first })
		switch {
		case !own && strings.HasPrefix(f.Path, meshRules):
			if f.Path = rulesFolder + strings.TrimPrefix(f.Path, meshRules); mesh >= 0 {
				components[mesh].files = append(components[mesh].files, f)
			} else {
				base.files = append(base.files, f)
			}
		case !own:
			return nil, nil, fmt.Errorf("%s is neither of the system nor of its mesh", f.Path)
		case deep && of >= 0:
			services[of].files = append(services[of].files, render.File{Path: name, Body: f.Body})
		default:
			base.files = append(base.files, render.File{Path: rest, Body: f.Body})
		}
	}
	for _, s := range services {
		if len(s.files) == 0 {
			return nil, nil, fmt.Errorf("service %s has no manifests", s.app.name)
		}
	}
	return append(components, base), services, nil
}

// Where render/istio puts what holds for the whole mesh, and where that goes here.
const (
	meshRules   = "platform/istio/"
	rulesFolder = "rules/"
)

func (t *tree) root() string { return path.Join("environments", t.options.Environment) }

// folder is where the files of an app are.
func (t *tree) folder(a app) string {
	kind := "platform"
	if a.service {
		kind = "services"
	}
	return path.Join(t.root(), "regions", a.region, kind, a.name)
}

// control is what says how the rest is synced.
func (t *tree) control() ([]render.File, error) {
	files := render.NewSet(path.Join(t.root(), controlFolder))
	files.Add("root-project.yaml", t.rootProject())
	files.Add("root.yaml", t.rootApplication())
	files.Add("projects/platform.yaml", t.project(platformProject, "What the services stand on. Only it may make objects of a whole cluster.", false, baseKinds))
	files.Add("projects/services.yaml", t.project(servicesProject, "The services of "+string(t.system.Name)+", in their namespace.", true, serviceKinds))
	last := 0
	for _, a := range t.apps {
		if !a.service {
			files.Add(path.Join("platform", a.region, a.name+".yaml"), t.component(a))
			last = max(last, a.wave)
		}
	}
	for _, a := range t.apps {
		if a.service && a.region == t.options.Regions[0].Name {
			files.Add(path.Join("services", a.name+".yaml"), t.serviceSet(a, last+1))
		}
	}
	return files.Files()
}

const controlFolder = "argo"

// Bootstrap are the files of a repository that are applied by hand, once Argo CD
// runs: an Application that syncs all the rest, itself too, and its project.
func Bootstrap(files []render.File, environment string) []render.File {
	var found []render.File
	for _, name := range []string{"root-project.yaml", "root.yaml"} {
		for _, f := range files {
			if f.Path == path.Join("environments", environment, controlFolder, name) {
				found = append(found, f)
			}
		}
	}
	return found
}

func (t *tree) meta(name string, wave int) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: name, Namespace: Namespace,
		Labels:      map[string]string{"app.kubernetes.io/part-of": string(t.system.Name), "app.kubernetes.io/managed-by": "nines"},
		Annotations: map[string]string{waveAnnotation: strconv.Itoa(wave)},
	}
}
