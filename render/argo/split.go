package argo

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/nines-ha/nines/render"
)

// Where render/istio puts what holds for the whole mesh and for all services of a
// system, and where the first goes here.
const (
	meshRules    = "platform/istio/"
	systemFolder = "mesh"
	rulesFolder  = "rules/"
)

// A part is an app with its files.
type part struct {
	app   app
	files []render.File
}

// split says which file belongs to which component or service.
func (t *tree) split(region Region) ([]part, error) {
	parts := []part{{app: app{region: region.Name, name: Base, namespace: string(t.system.Name)}}}
	for _, c := range region.Platform {
		if c.Name == "" || c.Name == Base || c.Wave < 0 || c.Namespace == "" {
			return nil, fmt.Errorf("component %q, wave %d, namespace %q: want a name other than %s, a wave from 0 and a namespace", c.Name, c.Wave, c.Namespace, Base)
		}
		if slices.ContainsFunc(c.Files, func(f render.File) bool { return strings.HasPrefix(f.Path, rulesFolder) }) {
			return nil, fmt.Errorf("component %s: the files below %s are the mesh's; name its own otherwise", c.Name, rulesFolder)
		}
		parts[0].app.wave = max(parts[0].app.wave, c.Wave+1)
		parts = append(parts, part{app{region: region.Name, name: c.Name, wave: c.Wave, namespace: c.Namespace}, c.Files})
	}
	mesh := max(0, slices.IndexFunc(parts, func(p part) bool { return p.app.name == Mesh }))
	apps := path.Join("apps", string(t.system.Name)) + "/"
	for _, f := range region.Services {
		rules, general := strings.CutPrefix(f.Path, meshRules)
		rest, own := strings.CutPrefix(f.Path, apps)
		service, name, deep := strings.Cut(rest, "/")
		switch {
		case general:
			parts[mesh].files = append(parts[mesh].files, render.File{Path: rulesFolder + rules, Body: f.Body})
		case !own:
			return nil, fmt.Errorf("%s is neither of the system nor of its mesh", f.Path)
		case !deep || service == systemFolder:
			parts[0].files = append(parts[0].files, render.File{Path: rest, Body: f.Body})
		default:
			at := slices.IndexFunc(parts, func(p part) bool { return p.app.service && p.app.name == service })
			if at < 0 {
				at = len(parts)
				parts = append(parts, part{app: app{region: region.Name, name: service, namespace: string(t.system.Name), service: true}})
			}
			parts[at].files = append(parts[at].files, render.File{Path: name, Body: f.Body})
		}
	}
	return parts, nil
}
