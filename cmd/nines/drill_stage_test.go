package main

import (
	"testing"

	"github.com/nines-ha/nines/system"
)

func TestPlainPath(t *testing.T) {
	for want, names := range map[string][]system.OperationName{
		"/":            nil,
		"/v1/vehicles": {"POST /v1", "GET /v1/vehicles/{vin}", "GET /v1/vehicles", "GET /openapi.json"},
		"":             {"POST /v1", "GET /v1/vehicles/{vin}"},
	} {
		var s system.Service
		for _, name := range names {
			s.Operations = append(s.Operations, system.Operation{Name: name})
		}
		if got := plainPath(s); got != want {
			t.Errorf("of %q: %q, want %q", names, got, want)
		}
	}
}
