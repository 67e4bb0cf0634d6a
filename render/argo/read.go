package argo

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/nines-ha/nines/render"
	"github.com/nines-ha/nines/system"
)

// Read says what an environment was rendered from, so that it can be rendered
// again with one thing changed: Render of what Read returns gives the same bytes.
// To release region by region, change the Services of one region at a time.
func Read(sys *system.System, files []render.File, environment string) (Options, error) {
	r := reader{system: sys, files: files, root: Folder(environment) + "/"}
	o, err := r.options()
	o.Environment = environment
	if err != nil {
		return o, fmt.Errorf("read the repository of %s: %w", sys.Name, err)
	}
	return o, nil
}

// Releases are the images that an environment runs in a region, by service: what
// render/kubernetes takes as images.
func Releases(files []render.File, environment, region string) (map[string]string, error) {
	images := map[string]string{}
	root := path.Join(Folder(environment), "regions", region, "services") + "/"
	for _, f := range files {
		rest, found := strings.CutPrefix(f.Path, root)
		service, _, _ := strings.Cut(rest, "/")
		if !found {
			continue
		}
		objects, err := parse(f.Body)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
		for _, o := range objects {
			if image := o.image(service); image != "" {
				images[service] = image
			}
		}
	}
	if len(images) == 0 {
		return nil, fmt.Errorf("there is no service below %s; is it the repository, and are environment and region right?", root)
	}
	return images, nil
}

// image is that of the service's own container in the workload which runs it.
func (o object) image(service string) string {
	if kind := o.kind(); kind != "Rollout" && kind != "Deployment" || o.name() != service {
		return ""
	}
	containers, _ := o.at("spec", "template", "spec", "containers").([]any)
	for _, c := range containers {
		fields, _ := c.(map[string]any)
		if container := object(fields); container.text("name") == service {
			return container.text("image")
		}
	}
	return ""
}

type reader struct {
	system *system.System
	files  []render.File
	root   string
}

func (r reader) options() (o Options, err error) {
	root, err := r.object(controlFolder + "/root.yaml")
	if err != nil {
		return o, err
	}
	o.Repository = root.text("spec", "source", "repoURL")
	for name := range strings.SplitSeq(root.text("metadata", "annotations", regionsAnnotation), ",") {
		o.Regions = append(o.Regions, Region{Name: name})
	}
	for i := range o.Regions {
		if err := r.region(&o.Regions[i]); err != nil {
			return o, err
		}
	}
	return o, nil
}

func (r reader) object(name string) (object, error) {
	at := slices.IndexFunc(r.files, func(f render.File) bool { return f.Path == r.root+name })
	if at < 0 {
		return nil, fmt.Errorf("there is no %s%s in it", r.root, name)
	}
	objects, err := parse(r.files[at].Body)
	if err == nil && len(objects) != 1 {
		err = errors.New("want one object")
	}
	if err != nil {
		return nil, fmt.Errorf("%s%s: %w", r.root, name, err)
	}
	return objects[0], nil
}

// region collects a region's files, under the paths that they came in with.
func (r reader) region(region *Region) error {
	root := path.Join(r.root, "regions", region.Name) + "/"
	apps := path.Join("apps", string(r.system.Name))
	for _, f := range r.files {
		rest, found := strings.CutPrefix(f.Path, root)
		if !found {
			continue
		}
		kind, rest, _ := strings.Cut(rest, "/")
		name, rest, _ := strings.Cut(rest, "/")
		general, isGeneral := strings.CutPrefix(rest, rulesFolder)
		switch {
		case kind == "services":
			f.Path = path.Join(apps, name, rest)
			region.Services = append(region.Services, f)
		case isGeneral && (name == Mesh || name == Base):
			f.Path = meshRules + general
			region.Services = append(region.Services, f)
		case name == Base:
			f.Path = path.Join(apps, rest)
			region.Services = append(region.Services, f)
		default:
			f.Path = rest
			if err := r.component(region, name, f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r reader) component(region *Region, name string, f render.File) error {
	for i := range region.Platform {
		if region.Platform[i].Name == name {
			region.Platform[i].Files = append(region.Platform[i].Files, f)
			return nil
		}
	}
	o, err := r.object(path.Join(controlFolder, "platform", region.Name, name+".yaml"))
	if err != nil {
		return err
	}
	wave, err := strconv.Atoi(o.text("metadata", "annotations", waveAnnotation))
	if err != nil {
		return fmt.Errorf("component %s has no wave: %w", name, err)
	}
	region.Platform = append(region.Platform, Component{
		Name: name, Wave: wave, Namespace: o.text("spec", "destination", "namespace"), Files: []render.File{f},
	})
	return nil
}
