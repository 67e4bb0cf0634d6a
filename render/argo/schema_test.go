package argo_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"
)

var crds = flag.String("crds", "", "folder with Argo CD's CustomResourceDefinitions (manifests/crds of its module), to write testdata/schema anew")

var schemaNames = map[string]string{"Application": "application", "AppProject": "appproject", "ApplicationSet": "applicationset"}

// Each Argo CD object is what the schemas of Argo CD 3.2.6 admit, and has no field
// that they do not know.
func TestSchema(t *testing.T) {
	if *crds != "" {
		for _, name := range schemaNames {
			trim(t, name)
		}
	}
	schemas := map[string]*jsonschema.Schema{}
	for kind, name := range schemaNames {
		schemas[kind] = compile(t, name)
	}
	for name, tree := range trees {
		for _, o := range objects(t, rendered(t, tree)) {
			if o.control() {
				if err := schemas[o.kind].Validate(o.fields); err != nil {
					t.Errorf("%s: %s: %v", name, o.path, err)
				}
			}
		}
	}
}

// The test above fails on what is wrong.
func TestSchemaRefuses(t *testing.T) {
	spec := func(o found) map[string]any { return o.fields["spec"].(map[string]any) }
	for name, damage := range map[string]func(found){
		"a misspelt field":          func(o found) { spec(o)["sourceRepoz"] = []any{} },
		"a value of the wrong type": func(o found) { spec(o)["sourceRepos"] = "one" },
		"a field deep inside": func(o found) {
			spec(o)["destinations"].([]any)[0].(map[string]any)["cluster"] = "x"
		},
	} {
		for _, o := range objects(t, rendered(t, fleet)) {
			if o.kind != "AppProject" {
				continue
			}
			damage(o)
			if err := compile(t, "appproject").Validate(o.fields); err == nil {
				t.Errorf("%s is admitted", name)
			}
			break
		}
	}
}

func compile(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", "schema", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(name, document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// trim writes the part of a CustomResourceDefinition's schema that a repository
// can use: what is desired, without prose, and of generators the one for clusters.
func trim(t *testing.T, name string) {
	t.Helper()
	body, err := os.ReadFile(filepath.Join(*crds, name+"-crd.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema map[string]any `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(body, &crd); err != nil || len(crd.Spec.Versions) != 1 {
		t.Fatalf("%s: %v", name, err)
	}
	schema := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	properties := schema["properties"].(map[string]any)
	delete(properties, "status")
	delete(properties, "operation")
	strict(schema)
	properties["metadata"] = map[string]any{"type": "object"}
	text, err := json.MarshalIndent(schema, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("testdata", "schema", name+".json"), append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// unused are fields that no repository of ours has, each a large part of a schema.
var unused = []string{"helm", "kustomize", "plugin", "jsonnet", "sources", "sourceHydrator", "templatePatch",
	"clusterDecisionResource", "git", "list", "matrix", "merge", "plugin", "pullRequest", "scmProvider"}

// strict makes a schema refuse the fields that it does not know, as an API server
// does under strict validation.
func strict(schema map[string]any) {
	for _, key := range slices.Collect(maps.Keys(schema)) {
		if key == "description" || key == "format" || strings.HasPrefix(key, "x-kubernetes-list") || strings.HasPrefix(key, "x-kubernetes-map") {
			delete(schema, key)
		}
	}
	for _, part := range []string{"items", "additionalProperties"} {
		if inner, ok := schema[part].(map[string]any); ok {
			strict(inner)
		}
	}
	fields, ok := schema["properties"].(map[string]any)
	if !ok {
		return
	}
	for name, field := range fields {
		if slices.Contains(unused, name) {
			delete(fields, name)
			continue
		}
		strict(field.(map[string]any))
	}
	if schema["x-kubernetes-preserve-unknown-fields"] != true {
		schema["additionalProperties"] = false
	}
}
