// Package manifest applies files of Kubernetes objects to a cluster: server-side,
// in an order that works, and pruned, so that what an earlier Apply of the same
// set made and this one no longer has is deleted. Call Decode, then Set.Apply. It
// renders nothing and waits for nothing; Set.Ready says whether it is there.
package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

// Object is one object of a file.
type Object = unstructured.Unstructured

// Decode reads the objects of a YAML or JSON file; lists are taken apart.
func Decode(name string, body []byte) ([]*Object, error) {
	var objects []*Object
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(body), 4096)
	for n := 1; ; n++ {
		var fields map[string]any
		err := decoder.Decode(&fields)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: document %d: %w", name, n, err)
		}
		if len(fields) == 0 {
			continue
		}
		found := []*Object{{Object: fields}}
		if found[0].IsList() {
			list := found[0]
			found = nil
			err := list.EachListItem(func(item runtimeObject) error {
				found = append(found, item.(*Object))
				return nil
			})
			if err != nil {
				return nil, fmt.Errorf("%s: document %d: %w", name, n, err)
			}
		}
		for _, o := range found {
			if o.GetKind() == "" || o.GetAPIVersion() == "" || o.GetName() == "" {
				return nil, fmt.Errorf("%s: document %d has no apiVersion, kind or metadata.name; is it a Kubernetes object?", name, n)
			}
		}
		objects = append(objects, found...)
	}
}

// order puts first what the rest needs to be accepted.
var order = []string{"Namespace", "CustomResourceDefinition", "StorageClass", "PriorityClass", "ServiceAccount", "ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding", "ConfigMap", "Secret", "Service"}

func sorted(objects []*Object) []*Object {
	rank := func(o *Object) int {
		if i := slices.Index(order, o.GetKind()); i >= 0 {
			return i
		}
		if strings.HasSuffix(o.GetKind(), "WebhookConfiguration") {
			return len(order) + 1
		}
		return len(order)
	}
	objects = slices.Clone(objects)
	slices.SortStableFunc(objects, func(a, b *Object) int { return rank(a) - rank(b) })
	return objects
}
