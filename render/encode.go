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
	root  string
	list  []File
	err   error             // the first one
	files map[string]string // path, and kind and name of an object, to the file that has it
}

// NewSet begins an empty set whose paths begin with root.
func NewSet(root string) *Set {
	return &Set{root: root, files: map[string]string{}}
}

// Add encodes an object into the file of that name. Each file and each object is
// there once: of two of a name the later one would take the other's place.
func (s *Set) Add(name string, object any) {
	body, id, err := encode(object)
	file := path.Join(s.root, name)
	if err == nil {
		err = s.claim(file, "file "+file, id)
	}
	if err != nil && s.err == nil {
		s.err = fmt.Errorf("render %s: %w", file, err)
	}
	s.list = append(s.list, File{Path: file, Body: body})
}

func (s *Set) claim(file string, names ...string) error {
	for _, name := range names {
		if other, taken := s.files[name]; taken {
			return fmt.Errorf("%s is in %s already; give a service or a store another name", name, other)
		}
		s.files[name] = file
	}
	return nil
}

// Files are what has been added, or why one of them could not be.
func (s *Set) Files() ([]File, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.list, nil
}

// encode writes an object without what only a server fills in, since applying
// that would claim it. It also gives the object's kind and name.
func encode(object any) (text []byte, id string, err error) {
	body, err := json.Marshal(object)
	if err != nil {
		return nil, "", err
	}
	var tree map[string]any
	if err := json.Unmarshal(body, &tree); err != nil {
		return nil, "", err
	}
	meta, _ := tree["metadata"].(map[string]any)
	id = fmt.Sprintf("%v %v", tree["kind"], meta["name"])
	if namespace, ok := meta["namespace"]; ok {
		id = fmt.Sprintf("%v %v/%v", tree["kind"], namespace, meta["name"])
	}
	delete(tree, "status")
	// A policy with an empty spec says something, a namespace with one nothing.
	if spec, ok := tree["spec"].(map[string]any); ok && len(spec) == 0 && tree["kind"] == "Namespace" {
		delete(tree, "spec")
	}
	prune(tree)
	if body, err = yaml.Marshal(tree); err != nil {
		return nil, "", err
	}
	return append([]byte(Header), body...), id, nil
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
