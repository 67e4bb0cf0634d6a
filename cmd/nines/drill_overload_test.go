package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/nines-ha/nines/drill"
	"github.com/nines-ha/nines/drill/load"
	"github.com/nines-ha/nines/system"
)

// An overload is made of --rate, whatever else is asked of a load.
func TestPlanOfAnOverload(t *testing.T) {
	overload, err := drill.Find("overload")
	if err != nil {
		t.Fatal(err)
	}
	kill, err := drill.Find("pod-kill")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		drill   drill.Drill
		flags   drillFlags
		rate    float64
		refused string
	}{
		"as it is":         {drill: overload, flags: drillFlags{rate: 50, clients: 50}, rate: 50},
		"quick":            {drill: overload, flags: drillFlags{rate: 50, clients: 50, quick: true}, rate: 50},
		"another, quick":   {drill: kill, flags: drillFlags{rate: 50, clients: 50, quick: true}, rate: 25},
		"steps":            {drill: overload, flags: drillFlags{rate: 50, clients: 50, steps: []float64{1}}, refused: "leave --steps out"},
		"too much":         {drill: overload, flags: drillFlags{rate: 3000, clients: 300}, refused: "lower --rate"},
		"for too long":     {drill: overload, flags: drillFlags{rate: 1900, clients: 300, window: time.Hour}, refused: "lower --rate"},
		"another, so much": {drill: kill, flags: drillFlags{rate: 3000, clients: 300}, rate: 3000},
	} {
		c.flags.arrivals, c.flags.steady = string(load.Poisson), time.Second
		s := &stage{flags: &c.flags, sys: &system.System{Name: "fleet"}, story: newDrillStory(io.Discard), dir: t.TempDir()}
		plan, err := s.plan(c.drill, "")
		switch {
		case c.refused == "" && (err != nil || plan.Rate != c.rate):
			t.Errorf("%s: %g a second, %v", name, plan.Rate, err)
		case c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)):
			t.Errorf("%s: %v, want %q", name, err, c.refused)
		}
	}
}
