package main

import (
	"regexp"
	"testing"
	"time"

	"github.com/nines-ha/nines/system"
)

// Also what is commented out in the starter must be right.
func TestStarterWithEverything(t *testing.T) {
	field := regexp.MustCompile(`(?m)^#( *[a-z]+:)`)
	whole := field.ReplaceAll(starter, []byte("$1"))
	sys, err := system.Parse(whole, "starter.yaml")
	if err != nil {
		t.Fatalf("%v in\n%s", err, whole)
	}
	if len(sys.Stores) != 1 || len(sys.Services[0].Stores) != 1 || sys.Services[0].Env["LOG_LEVEL"] != "info" {
		t.Errorf("not everything was there: %+v", sys)
	}

	given := sys.Services[0]
	if given.Host == "" || len(given.Operations) != 1 || len(given.Calls) != 1 || len(given.Traffic) != 1 || !sys.Traces.On() || !sys.Deliver.On() || !given.Canary.On() || len(sys.Services) != 3 {
		t.Errorf("not everything was there: %+v", sys)
	}

	plain, err := system.Parse(starter, "starter.yaml")
	if err != nil {
		t.Fatal(err)
	}
	left := plain.Services[0]
	if inMesh := left.Drain.InMesh(); inMesh.Delay != 10*time.Second {
		t.Errorf("the starter says 10s of a mesh, and it is %s", inMesh.Delay)
	}
	given.Drain.Given = false
	if given.Port != left.Port || given.Scale != left.Scale || given.Resources != left.Resources || given.Disruption != left.Disruption || given.Drain != left.Drain ||
		given.Limits != left.Limits || sys.Clients != plain.Clients {
		t.Errorf("the starter shows defaults that are not: %+v, and left out: %+v", given, left)
	}
}
