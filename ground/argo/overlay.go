package argo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/nines-ha/nines/ground/manifest"
)

const separator = "\n---\n"

// overlay puts upstream's objects into a namespace, which it adds, leaves those out
// whose name begins with a prefix, and changes others as patches say: strategic
// merges, as kubectl patch does. A definition of a kind keeps its text; that is
// most of the file.
func overlay(upstream, patches []byte, namespace string, leftOut []string) ([]byte, error) {
	list, err := manifest.Decode("patches", patches)
	if err != nil {
		return nil, err
	}
	changes := map[string]*manifest.Object{}
	for _, p := range list {
		changes[key(p)] = p
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "apiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {pod-security.kubernetes.io/enforce: restricted}}%s", namespace, separator)
	for text := range strings.SplitSeq(string(upstream), separator) {
		if defines(text) {
			out.WriteString(strings.TrimSuffix(text, "\n") + separator)
			continue
		}
		objects, err := manifest.Decode("upstream's manifests", []byte(text))
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			if slices.ContainsFunc(leftOut, func(prefix string) bool { return strings.HasPrefix(o.GetName(), prefix) }) {
				continue
			}
			if p := changes[key(o)]; p != nil {
				if err := merge(o, p); err != nil {
					return nil, fmt.Errorf("%s: %w", key(o), err)
				}
				delete(changes, key(o))
			}
			if !strings.HasPrefix(o.GetKind(), "Cluster") {
				o.SetNamespace(namespace)
			}
			body, err := yaml.Marshal(o.Object)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key(o), err)
			}
			out.Write(body)
			out.WriteString(separator[1:])
		}
	}
	if len(changes) > 0 {
		return nil, fmt.Errorf("upstream has no %s", strings.Join(slices.Sorted(maps.Keys(changes)), ", "))
	}
	return out.Bytes(), nil
}

// defines says whether a document is the definition of a kind.
func defines(text string) bool { return strings.Contains(text, "\nkind: CustomResourceDefinition\n") }

func key(o *manifest.Object) string { return o.GetKind() + " " + o.GetName() }

func merge(o, patch *manifest.Object) error {
	kind, err := scheme.Scheme.New(o.GroupVersionKind())
	if err != nil {
		return err
	}
	before, err := json.Marshal(o.Object)
	if err != nil {
		return err
	}
	change, err := json.Marshal(patch.Object)
	if err != nil {
		return err
	}
	after, err := strategicpatch.StrategicMergePatch(before, change, kind)
	if err != nil {
		return err
	}
	o.Object = nil
	return json.Unmarshal(after, &o.Object)
}
