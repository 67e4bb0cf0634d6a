package kubernetes

import (
	"encoding/json"
	"fmt"
	"path"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/nines-ha/nines/render"
)

type folder struct {
	root string
	list []render.File
	err  error // the first one
}

func (f *folder) add(name string, object runtime.Object) {
	body, err := encode(object)
	if err != nil && f.err == nil {
		f.err = fmt.Errorf("encode %s: %w", name, err)
	}
	f.list = append(f.list, render.File{Path: path.Join(f.root, name), Body: body})
}

// encode writes an object without what only a server fills in, since applying
// that would claim it.
func encode(object runtime.Object) ([]byte, error) {
	body, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	if err := json.Unmarshal(body, &tree); err != nil {
		return nil, err
	}
	delete(tree, "status")
	if spec, ok := tree["spec"].(map[string]any); ok && len(spec) == 0 {
		delete(tree, "spec")
	}
	prune(tree)
	if body, err = yaml.Marshal(tree); err != nil {
		return nil, err
	}
	return append([]byte(render.Header), body...), nil
}

func prune(tree map[string]any) {
	for key, value := range tree {
		switch value := value.(type) {
		case map[string]any:
			prune(value)
		case []any:
			for _, element := range value {
				if inner, ok := element.(map[string]any); ok {
					prune(inner)
				}
			}
		case nil:
			delete(tree, key)
		}
	}
}
