package system_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/nines-ha/nines/system"
)

const schemaFile = "../docs/nines.schema.json"

func TestSchemaIsCommitted(t *testing.T) {
	body, err := system.Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, schemaFile, body)
}

// The schema and the parser must agree about form. What only the parser can
// know, in the folder meaning, the schema lets through.
func TestSchemaAgreesWithParser(t *testing.T) {
	schema := compileSchema(t)
	cases := []struct {
		pattern        string
		parser, schema bool
	}{
		{"testdata/valid/*.yaml", true, true},
		{"../examples/*/nines.yaml", true, true},
		{"testdata/invalid/structure/*.yaml", false, false},
		{"testdata/invalid/meaning/*.yaml", false, true},
	}
	for _, c := range cases {
		for _, name := range fixtures(t, c.pattern) {
			t.Run(name, func(t *testing.T) {
				body := read(t, name)
				if _, err := system.Parse(body, filepath.Base(name)); (err == nil) != c.parser {
					t.Errorf("parser: %v", err)
				}
				if err := validate(t, schema, body); (err == nil) != c.schema {
					t.Errorf("schema: %v", err)
				}
			})
		}
	}
}

// One wrong value at a time, so that no other problem of a fixture hides a
// place where the two differ.
func TestSchemaAgreesOnValues(t *testing.T) {
	schema := compileSchema(t)
	frames := map[string]string{
		"top":       "name: fleet\nservices: {vehicle: {source: ./vehicle}}\n%s\n",
		"service":   "name: fleet\nservices: {vehicle: {source: ./vehicle}, command: {source: ./command, %s}}\n",
		"delivered": "name: fleet\ndeliver: {}\nservices: {command: {source: ./command, expose: public, %s}}\n",
	}
	cases := []struct {
		place, text string
		good        bool
	}{
		{"top", "slo: {availability: 99.9%}", true},
		{"top", "slo: {availability: 99.9}", false},
		{"top", "slo: {availability: 099%}", false},
		{"top", "slo: {p99: 1m30s}", true},
		{"top", "slo: {p99: 300}", false},
		{"top", "slo: {p99: 300 ms}", false},
		{"top", "slo: {p99: 1d}", false},
		{"top", "slo: {}", true},
		{"top", "slo:", false},
		{"top", "regions: {a: {}}", true},
		{"top", "regions: {}", false},
		{"top", "regions: {a: }", false},
		{"top", "regions: {a-: {}}", false},
		{"top", "regions: {a: {zones: 3.5}}", false},
		{"top", "regions: {a: {zones: 4}}", false},
		{"top", "registry: localhost:5000", true},
		{"top", "registry: 5", false},
		{"top", "stores: {a: {}}", false},
		{"top", "stores: {a: {postgres: 14}}", false},
		{"top", "stores: {a: {postgres: 15, storage: 20G}}", true},
		{"top", "stores: {a: {postgres: 15, storage: big}}", false},
		{"top", "clients: {attempts: 1}", true},
		{"top", "clients: {attempts: 11}", false},
		{"top", "clients: {backoff: 200ms..2s}", true},
		{"top", "clients: {backoff: 1s}", false},
		{"top", "clients: {backoff: 1..2s}", false},
		{"top", "clients: {backoff: 1s...2s}", false},
		{"top", "clients: {budget: 20%}", true},
		{"top", "clients: {budget: 0.2}", false},
		{"top", "other: 1", false},
		{"service", "port: 8080", true},
		{"service", "port: 1023", false},
		{"service", "port: 65536", false},
		{"service", `port: "8080"`, false},
		{"service", "expose: true", true},
		{"service", "expose: false", false},
		{"service", "expose: private", false},
		{"service", "scale: {replicas: 1}", true},
		{"service", `scale: {replicas: "3"}`, false},
		{"service", "scale: {replicas: 3..6}", true},
		{"service", "scale: {replicas: 0..6}", false},
		{"service", "scale: {replicas: 3...6}", false},
		{"service", "resources: {cpu: 1.5, memory: 1Gi}", true},
		{"service", "resources: {cpu: -1}", false},
		{"service", "resources: {cpu: true}", false},
		{"service", "disruption: {maxUnavailable: 34%}", true},
		{"service", "disruption: {maxUnavailable: 33.3%}", false},
		{"service", "disruption: {maxUnavailable: 0%}", false},
		{"service", "calls: [vehicle]", true},
		{"service", "calls: [1]", false},
		{"service", "calls: [vehicle, vehicle]", false},
		{"service", "traffic: {vehicle: {weight: 10%, header: {X-Preview: true, X-Ring: 2}}}", true},
		{"service", "traffic: {vehicle: {mirror: 0.5%}}", true},
		{"service", "traffic: {vehicle: {weight: 10}}", false},
		{"service", "traffic: {vehicle: 10%}", false},
		{"service", "traffic: [vehicle]", false},
		{"service", "traffic: {vehicle: {header: {X Preview: x}}}", false},
		{"service", "traffic: {vehicle: {header: {X-Preview: [x]}}}", false},
		{"service", "env: {A: 1, B: 1.5, C: true, D: x, E: \"\"}", true},
		{"service", "env: {A: null}", false},
		{"service", "env: {A-B: x}", false},
		{"service", "probes: {liveness: live}", false},
		{"service", "drain: {delay: 10s, timeout: 20s}", true},
		{"service", "drain: {delay: 10}", false},
		{"service", "image: a.b/c:1", false},
		{"service", "expose: public, host: api.fleet.example", true},
		{"service", "expose: public, host: api", false},
		{"service", "expose: public, host: api.fleet.example:80", false},
		{"service", "expose: public, host: '*.example'", false},
		{"service", "operations: {}", false},
		{"service", "operations: {GET /: {}}", true},
		{"service", "operations: {'GET /a/{b}/c.d': {timeout: 300ms, attempts: 2, idempotent: true}}", true},
		{"service", "operations: {'GET /a/': {}}", false},
		{"service", "operations: {'GET /.well-known/..a/...': {}}", true},
		{"service", "operations: {'GET /a/./b': {}}", false},
		{"service", "operations: {'GET /a/..': {}}", false},
		{"top", "traces: {sample: 0.000001%}", true},
		{"top", "traces: {sample: 0.0000001%}", false},
		{"top", "traces: {sample: 200%}", false},
		{"service", "operations: {'GET  /a': {}}", false},
		{"service", "operations: {'get /a': {}}", false},
		{"service", "operations: {'CONNECT /a': {}}", false},
		{"service", "operations: {'GET /a{b}': {}}", false},
		{"service", "operations: {'GET /a*': {}}", false},
		{"service", "operations: {GET /: {idempotent: 1}}", false},
		{"service", "operations: {GET /: {idempotent: 'true'}}", false},
		{"service", "operations: {GET /: {attempts: 6}}", false},
		{"service", "operations: {GET /: {attempts: 0}}", false},
		{"service", "limits: {requests: 10, connections: 10, pending: 1}", true},
		{"service", "limits: {requests: 0}", false},
		{"top", "deliver: {}", true},
		{"top", "deliver:", false},
		{"top", "deliver: true", false},
		{"top", "deliver: {regions: together}\nregions: {a: {}, b: {}}", true},
		{"top", "deliver: {regions: Together}\nregions: {a: {}, b: {}}", false},
		{"top", "deliver: {environment: staging-2}", true},
		{"top", "deliver: {environment: staging/2}", false},
		{"delivered", "canary: {}", true},
		{"delivered", "canary: {steps: []}", true},
		{"delivered", "canary: {steps: [5%, 50%], hold: 30s, success: 99.5%, p99: 300ms, requests: 500, deadline: 5m}", true},
		{"delivered", "canary: {steps: [5, 50]}", false},
		{"delivered", "canary: {steps: 5%}", false},
		{"delivered", "canary: {steps: [5%, 5%]}", false},
		{"delivered", "canary: {hold: 30}", false},
		{"delivered", "canary: {requests: 99}", false},
		{"delivered", "canary: {requests: 100%}", false},
		{"delivered", "canary: true", false},
	}
	for _, c := range cases {
		t.Run(c.text, func(t *testing.T) {
			text := fmt.Sprintf(frames[c.place], c.text)
			if _, err := system.Parse([]byte(text), "nines.yaml"); (err == nil) != c.good {
				t.Errorf("parser: %v", err)
			}
			if err := validate(t, schema, []byte(text)); (err == nil) != c.good {
				t.Errorf("schema: %v", err)
			}
		})
	}
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(read(t, schemaFile)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("nines.schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("nines.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func validate(t *testing.T, schema *jsonschema.Schema, body []byte) error {
	t.Helper()
	var value any
	if err := yaml.Unmarshal(body, &value); err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(document)
}
