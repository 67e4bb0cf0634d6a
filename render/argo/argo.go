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
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

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

// Render returns the repository, sorted by path. A service need not be in every
// region: one that is new, or is to go, is committed region by region too.
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
		return nil, errors.New("an environment, the repository's address and a region are needed")
	}
	t := tree{system: sys, options: o, parsed: map[string][]object{}}
	for _, region := range o.Regions {
		if err := t.add(region); err != nil {
			return nil, fmt.Errorf("region %s: %w", region.Name, err)
		}
	}
	for _, s := range sys.Services {
		if len(t.of(string(s.Name))) == 0 {
			return nil, fmt.Errorf("service %s is in no region", s.Name)
		}
	}
	control, err := t.control()
	if err != nil {
		return nil, err
	}
	all := append(control, t.files...)
	return append(all, render.File{Path: "environments/README.md", Body: []byte(render.Header + "\n" + readme)}), nil
}

// Bootstrap are the files of a repository that are applied by hand, once Argo CD
// runs: an Application that syncs all the rest, itself too, and its project.
func Bootstrap(files []render.File, environment string) []render.File {
	var found []render.File
	for _, name := range []string{"root-project.yaml", "root.yaml"} {
		for _, f := range files {
			if f.Path == path.Join(Folder(environment), controlFolder, name) {
				found = append(found, f)
			}
		}
	}
	return found
}
