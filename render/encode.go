package render

import (
	"encoding/json"
	"fmt"
	"path"

	"sigs.k8s.io/yaml"
)

// A Set collects rendered objects as files below one folder, in the order in
// which they are added.
type Set struct {
	root string
	list []File
	err  error // the first one
}

// NewSet begins an empty set whose paths begin with root.
func NewSet(root string) *Set {
	return &Set{root: root}
}

// Add encodes an object into the file of that name.
func (s *Set) Add(name string, object any) {
	body, err := encode(object)
	if err != nil && s.err == nil {
		s.err = fmt.Errorf("encode %s: %w", name, err)
	}
	s.list = append(s.list, File{Path: path.Join(s.root, name), Body: body})
}

// Files are what has been added, or why one of them could not be.
func (s *Set) Files() ([]File, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.list, nil
}

// encode writes an object without what only a server fills in, since applying
// that would claim it.
func encode(object any) ([]byte, error) {
	body, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	if err := json.Unmarshal(body, &tree); err != nil {
		return nil, err
	}
	delete(tree, "status")
	// A policy with an empty spec says something, a namespace with one nothing.
	if spec, ok := tree["spec"].(map[string]any); ok && len(spec) == 0 && tree["kind"] == "Namespace" {
		delete(tree, "spec")
	}
	prune(tree)
	if body, err = yaml.Marshal(tree); err != nil {
		return nil, err
	}
	return append([]byte(Header), body...), nil
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
