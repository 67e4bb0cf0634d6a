package system_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/nines-ha/nines/system"
)

func Example() {
	sys, err := system.Parse([]byte("name: fleet\nservices:\n  vehicle: {source: ./vehicle, scale: {replicas: 3..12}}\n"), "nines.yaml")
	if err != nil {
		fmt.Println(err)
		return
	}
	vehicle := sys.Services[0]
	fmt.Println(sys.Name, sys.Regions[0].Name, vehicle.Name, vehicle.Scale.Replicas, vehicle.Scale.CPU)

	_, err = system.Parse([]byte("name: fleet\nservices:\n  vehicle: {source: ./vehicle, prot: 8080}\n"), "nines.yaml")
	fmt.Println(err)
	// Output:
	// fleet westeurope vehicle 3..12 60%
	// nines.yaml:3:32: services.vehicle: "prot" is not a field; did you mean port? (for example port: 8080)
}

func TestDefaults(t *testing.T) {
	got, err := system.Parse(read(t, "testdata/valid/least.yaml"), "folder/nines.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := &system.System{
		Name:    "fleet",
		File:    "folder/nines.yaml",
		SLO:     system.SLO{Availability: 99_900_000, P99: 300 * time.Millisecond, Recovery: 30 * time.Second},
		Regions: []system.Region{{Name: "westeurope", Zones: 3, Nodes: 1}},
		Services: []system.Service{{
			Name: "vehicle", Source: "./vehicle", Port: 8080,
			Scale:      system.Scale{Replicas: system.Range{Min: 3, Max: 3}},
			Resources:  system.Resources{CPU: "100m", Memory: "128Mi"},
			Probes:     system.Probes{Port: 8081, Startup: "/startupz", Liveness: "/livez", Readiness: "/readyz", Start: time.Minute},
			Disruption: system.Disruption{MaxUnavailable: system.Amount{Count: 1}},
			Drain:      system.Drain{Delay: 10 * time.Second, Timeout: 20 * time.Second},
			Limits:     system.Limits{Connections: 256, Pending: 64, Requests: 256},
		}},
		Clients:  system.Clients{Attempts: 3, Timeout: time.Second, Backoff: system.Span{Min: 200 * time.Millisecond, Max: 2 * time.Second}, Budget: 20_000_000, Deadline: 5 * time.Second},
		Registry: "registry.local",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if folder := got.Folder(got.Services[0]); folder != "folder/vehicle" {
		t.Errorf("source in %s", folder)
	}
	if repository := got.Repository(got.Services[0]); repository != "registry.local/fleet/vehicle" {
		t.Errorf("image in %s", repository)
	}
}

func TestEverything(t *testing.T) {
	got, err := system.Parse(read(t, "testdata/valid/everything.yaml"), "nines.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := &system.System{
		Name:    "fleet",
		File:    "nines.yaml",
		SLO:     system.SLO{Availability: 99_950_000, P50: 20 * time.Millisecond, P95: 100 * time.Millisecond, P99: 250 * time.Millisecond, Recovery: time.Minute},
		Traces:  system.Traces{Sample: 500_000},
		Regions: []system.Region{{Name: "westeurope", Zones: 3, Nodes: 2}, {Name: "northeurope", Zones: 2, Nodes: 1}},
		Services: []system.Service{{
			Name: "vehicle", Source: "../fleet/vehicle", Port: 9090, Expose: system.Public, Host: "api.fleet.example",
			Scale:      system.Scale{Replicas: system.Range{Min: 3, Max: 12}, CPU: 70_000_000},
			Resources:  system.Resources{CPU: "0.5", Memory: "256Mi"},
			Probes:     system.Probes{Port: 9091, Startup: "/start", Liveness: "/live", Readiness: "/ready", Start: 2 * time.Minute},
			Disruption: system.Disruption{MinAvailable: system.Amount{Count: 2}},
			Drain:      system.Drain{Given: true, Delay: 20 * time.Second, Timeout: 30 * time.Second},
			Operations: []system.Operation{
				{Name: "POST /v1/vehicles/{vin}/signals", Idempotent: true, Timeout: 2 * time.Second, Attempts: 1},
				{Name: "GET /v1/vehicles/{vin}", Idempotent: true, Timeout: 2 * time.Second, Attempts: 1},
			},
			Limits: system.Limits{Connections: 120, Pending: 30, Requests: 100},
			Calls:  []system.Name{"profile"},
			Traffic: []system.Share{
				{Name: "vehicle-next", Weight: 10_000_000, Header: system.Headers{"X-Preview": "true", "X-Ring": "2"}},
				{Name: "vehicle-shadow", Mirror: 500_000},
			},
			Stores: []system.Name{"telemetry"},
			Env:    system.Environment{"LOG_LEVEL": "info", "BATCH": "1000", "RATIO": "0.5", "STRICT": "true", "NOTE": "two\nlines\n"},
		}, {
			Name: "vehicle-next", Source: "../fleet/vehicle", Port: 9090,
			Scale:      system.Scale{Replicas: system.Range{Min: 2, Max: 2}},
			Resources:  system.Resources{CPU: "100m", Memory: "128Mi"},
			Probes:     system.Probes{Port: 8081, Startup: "/startupz", Liveness: "/livez", Readiness: "/readyz", Start: time.Minute},
			Disruption: system.Disruption{MaxUnavailable: system.Amount{Count: 1}},
			Drain:      system.Drain{Delay: 10 * time.Second, Timeout: 20 * time.Second},
			Limits:     system.Limits{Connections: 170, Pending: 42, Requests: 170},
			Stores:     []system.Name{"telemetry"},
		}, {
			Name: "vehicle-shadow", Source: "../fleet/vehicle", Port: 8080,
			Scale:      system.Scale{Replicas: system.Range{Min: 1, Max: 1}},
			Resources:  system.Resources{CPU: "100m", Memory: "128Mi"},
			Probes:     system.Probes{Port: 8081, Startup: "/startupz", Liveness: "/livez", Readiness: "/readyz", Start: time.Minute},
			Disruption: system.Disruption{MaxUnavailable: system.Amount{Count: 1}},
			Drain:      system.Drain{Delay: 10 * time.Second, Timeout: 20 * time.Second},
			Limits:     system.Limits{Connections: 85, Pending: 21, Requests: 85},
			Operations: []system.Operation{
				{Name: "POST /v1/vehicles/{id}/signals", Idempotent: true, Timeout: time.Second, Attempts: 3},
				{Name: "GET /v1/vehicles/{id}", Idempotent: true, Timeout: time.Second, Attempts: 3},
				{Name: "GET /v1/shadow", Idempotent: true, Timeout: 2 * time.Second, Attempts: 3},
			},
			Stores: []system.Name{"shadow"},
		}, {
			Name: "command", Port: 8080, Expose: system.Public, Host: "command.fleet.example",
			Image:      "ghcr.io/example/command@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
			Scale:      system.Scale{Replicas: system.Range{Min: 4, Max: 4}},
			Resources:  system.Resources{CPU: "2", Memory: "128Mi"},
			Probes:     system.Probes{Port: 8081, Startup: "/startupz", Liveness: "/livez", Readiness: "/readyz", Start: time.Minute},
			Disruption: system.Disruption{MaxUnavailable: system.Amount{Percent: 25_000_000}},
			Drain:      system.Drain{Delay: 15 * time.Second, Timeout: 20 * time.Second},
			Limits:     system.Limits{Connections: 341, Pending: 85, Requests: 341},
			Calls:      []system.Name{"vehicle"},
		}, {
			Name: "profile", Source: "../fleet/profile", Port: 8080,
			Scale:      system.Scale{Replicas: system.Range{Min: 3, Max: 3}},
			Resources:  system.Resources{CPU: "100m", Memory: "128Mi"},
			Probes:     system.Probes{Port: 8081, Startup: "/startupz", Liveness: "/livez", Readiness: "/readyz", Start: time.Minute},
			Disruption: system.Disruption{MaxUnavailable: system.Amount{Count: 1}},
			Drain:      system.Drain{Delay: 10 * time.Second, Timeout: 20 * time.Second},
			Limits:     system.Limits{Connections: 256, Pending: 64, Requests: 256},
			Operations: []system.Operation{
				{Name: "PUT /v1/profiles/{vin}", Idempotent: true, Timeout: 300 * time.Millisecond, Attempts: 2},
				{Name: "GET /v1/profiles/{vin}", Idempotent: true, Timeout: 50 * time.Millisecond, Attempts: 1},
				{Name: "DELETE /v1/profiles", Timeout: 2 * time.Second, Attempts: 1},
				{Name: "POST /", Timeout: 2 * time.Second, Attempts: 1},
			},
		}},
		Clients:  system.Clients{Attempts: 4, Timeout: 2 * time.Second, Backoff: system.Span{Min: 100 * time.Millisecond, Max: 90 * time.Second}, Budget: 7_500_000, Deadline: 9 * time.Second},
		Stores:   []system.Store{{Name: "telemetry", Postgres: 15, Storage: "128Gi"}, {Name: "shadow", Postgres: 15, Storage: "16Gi"}},
		Registry: "registry.example:5000/platform",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPositions(t *testing.T) {
	cases := []struct {
		name, text   string
		line, column int
	}{
		{"after a comment", "# é\nname: fleet # é\nservices:\n  vehicle:\n    source: ./v\n    prot: 1\n", 6, 5},
		{"after wide letters", "name: fleet\nservices: {vehicle: {source: ./v, env: {A: \"éé\", B: ééé}, prot: 1}}\n", 2, 59},
		{"after a block", "name: fleet\nservices:\n  vehicle:\n    source: ./v\n    env:\n      A: |\n        one\n\n        two\n    prot: 1\n", 10, 5},
		{"carriage returns", "name: fleet\r\nservices:\r\n  vehicle:\r\n    source: ./v\r\n    prot: 1\r\n", 5, 5},
		{"quoted key", "name: fleet\nservices: {vehicle: {source: ./v, \"prot\": 1}}\n", 2, 35},
		{"value in quotes", "name: fleet\nservices: {vehicle: {source: ./v, port: \"80\"}}\n", 2, 41},
		{"list item", "name: fleet\nservices:\n  vehicle:\n    source: ./v\n    calls:\n    - nobody\n", 6, 7},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := system.Parse([]byte(c.text), "nines.yaml")
			var problem system.Error
			if !errors.As(err, &problem) {
				t.Fatalf("accepted: %v", err)
			}
			if problem.Line != c.line || problem.Column != c.column {
				t.Errorf("at %d:%d, want %d:%d: %v", problem.Line, problem.Column, c.line, c.column, err)
			}
		})
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	_, err := system.Parse(read(t, "testdata/invalid/meaning/secrets.yaml"), "nines.yaml")
	if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "eyJ") {
		t.Errorf("the error shows a secret, or there is none: %v", err)
	}
}

func TestLimits(t *testing.T) {
	cases := map[string]string{
		"size":  "name: fleet # " + strings.Repeat("x", 300<<10),
		"flow":  strings.Repeat("[", 10_000),
		"list":  strings.Repeat("- ", 10_000) + "x",
		"block": deep(400),
	}
	for name, text := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := system.Parse([]byte(text), "nines.yaml"); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func deep(levels int) string {
	var b strings.Builder
	for i := range levels {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/valid/*.yaml", "testdata/invalid/*/*.yaml"} {
		for _, name := range fixtures(&testing.T{}, pattern) {
			f.Add(read(&testing.T{}, name))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		sys, err := system.Parse(body, "nines.yaml")
		if (sys == nil) == (err == nil) {
			t.Fatalf("%v and %v", sys, err)
		}
		if err == nil {
			return
		}
		var problems system.Errors
		if !errors.As(err, &problems) || len(problems) == 0 {
			t.Fatalf("%T: %v", err, err)
		}
		lines := strings.Split(string(body), "\n")
		for _, p := range problems {
			if p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > utf8.RuneCountInString(lines[p.Line-1])+1 {
				t.Errorf("%d:%d is not in the file: %v", p.Line, p.Column, p)
			}
			if p.Message == "" || strings.Contains(p.Error(), "\n") {
				t.Errorf("%q is not one line", p.Error())
			}
		}
	})
}
