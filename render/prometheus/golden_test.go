package prometheus_test

import (
	"flag"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nines-ha/nines/render"
	"github.com/nines-ha/nines/render/prometheus"
	"github.com/nines-ha/nines/render/rendertest"
	"github.com/nines-ha/nines/system"
)

var update = flag.Bool("update", false, "write golden files anew")

const (
	fleet      = "../../examples/fleet/nines.yaml"
	everything = "../../system/testdata/valid/everything.yaml"
)

// A step of minutes, and one of seconds.
var holds = map[string]time.Duration{fleet: 2 * time.Minute, everything: 10 * time.Second}

func TestGolden(t *testing.T) {
	for name, hold := range holds {
		folder := strings.TrimSuffix(filepath.Base(name), ".yaml")
		if folder == "nines" {
			folder = filepath.Base(filepath.Dir(name))
		}
		t.Run(folder, func(t *testing.T) {
			rendertest.Golden(t, filepath.Join("testdata", folder), renderAll(t, name, hold), *update)
		})
	}
}

func TestRenderIsPure(t *testing.T) {
	first := renderAll(t, everything, time.Minute)
	for range 5 {
		if diff := cmp.Diff(first, renderAll(t, everything, time.Minute)); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestRenderRefuses(t *testing.T) {
	_, err := prometheus.Render(rendertest.Parse(t, everything), "mars", nil)
	if err == nil || !strings.Contains(err.Error(), `no region "mars"`) {
		t.Error(err)
	}
}

func renderAll(t *testing.T, name string, hold time.Duration) []render.File {
	t.Helper()
	sys := rendertest.Parse(t, name)
	var canaries []prometheus.Canary
	for _, service := range sys.Services {
		canaries = append(canaries, canary(sys, service.Name, hold))
	}
	files, err := prometheus.Render(sys, string(sys.Regions[0].Name), canaries)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func canary(sys *system.System, service system.Name, hold time.Duration) prometheus.Canary {
	return prometheus.Canary{
		Service: service, Hold: hold, Success: sys.SLO.Availability, P99: sys.SLO.P99, Requests: 100, Deadline: 10 * time.Minute,
	}
}
