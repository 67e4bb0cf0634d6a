package twin

import (
	"bytes"
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	appsv1 "k8s.io/api/apps/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"

	"github.com/nines-ha/nines/ground"
)

// patches are strategic merge patches, or of an object of Istio's JSON merge patches, a file a twin: each document names the
// kind of an object of the service and the fields that change; SERVICE stands
// for the service's name. One that has a name of its own is for every object of
// that kind and name. A twin that the description alone makes has none.
//
//go:embed patches/*.yaml
var patches embed.FS

// A patch is one document. What the API removes by the directive delete, this
// package removes from the files.
type patch struct {
	kind   string
	name   string
	remove bool
	json   []byte
}

// Patch gives the files of a region with the mistake in the objects of the
// service. The files must be those of the edited system. It is an error if there
// is nothing to change.
func (t Twin) Patch(files []ground.File, service string) ([]ground.File, error) {
	list, err := t.patches(service)
	if err != nil {
		return nil, err
	}
	patched := append([]ground.File(nil), files...)
	for _, p := range list {
		places, err := find(patched, p.kind, p.name)
		if err != nil {
			return nil, fmt.Errorf("twin %s: %w", t.Name, err)
		}
		if len(places) == 0 {
			return nil, fmt.Errorf("twin %s: no file holds a %s %s that could be changed: the mistake may be in the description already", t.Name, p.kind, p.name)
		}
		for _, i := range slices.Backward(places) {
			if p.remove {
				patched = append(patched[:i:i], patched[i+1:]...)
				continue
			}
			body, err := p.apply(patched[i].Body)
			if err != nil {
				return nil, fmt.Errorf("twin %s: %s: %w", t.Name, patched[i].Path, err)
			}
			patched[i].Body = append([]byte("# Twin "+t.Name+" of nines: wrong on purpose, for a drill to refute.\n"), body...)
		}
	}
	return patched, nil
}

func (t Twin) patches(service string) ([]patch, error) {
	body, err := patches.ReadFile("patches/" + t.Name + ".yaml")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []patch
	for document := range strings.SplitSeq(strings.ReplaceAll(string(body), "SERVICE", service), "\n---\n") {
		var head struct {
			Kind      string `json:"kind"`
			Directive string `json:"$patch"`
			Metadata  struct {
				Name string `json:"name"`
			} `json:"metadata"`
		}
		json, err := yaml.YAMLToJSONStrict([]byte(document))
		if err == nil {
			err = yaml.Unmarshal(json, &head)
		}
		if err != nil {
			return nil, fmt.Errorf("twin %s: its patch: %w", t.Name, err)
		}
		list = append(list, patch{head.Kind, cmp.Or(head.Metadata.Name, service), head.Directive == "delete", json})
	}
	return list, nil
}

// find are the places of the files that hold an object of that kind and name: the
// same name may be in several namespaces.
func find(files []ground.File, kind, name string) (places []int, err error) {
	for i, f := range files {
		var head struct {
			Kind     string `json:"kind"`
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
		}
		if err := yaml.Unmarshal(f.Body, &head); err != nil {
			return nil, fmt.Errorf("read %s: %w", f.Path, err)
		}
		if head.Kind == kind && head.Metadata.Name == name {
			places = append(places, i)
		}
	}
	return places, nil
}

func (p patch) apply(body []byte) ([]byte, error) {
	kinds := map[string]any{"Deployment": appsv1.Deployment{}, "PodDisruptionBudget": policyv1.PodDisruptionBudget{}}
	before, err := yaml.YAMLToJSON(body)
	if err != nil {
		return nil, err
	}
	var after []byte
	if kind, ok := kinds[p.kind]; ok {
		after, err = strategicpatch.StrategicMergePatch(before, p.json, kind)
	} else { // the API server merges an object of a custom kind so, too
		after, err = jsonpatch.MergePatch(before, p.json)
	}
	if err != nil {
		return nil, err
	}
	if bytes.Equal(before, after) {
		return nil, errors.New("the patch changes nothing: the mistake may be in the description already")
	}
	return yaml.JSONToYAML(after)
}
