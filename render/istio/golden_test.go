package istio_test

import (
	"flag"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nines-ha/nines/render"
	"github.com/nines-ha/nines/render/istio"
	"github.com/nines-ha/nines/render/rendertest"
	"github.com/nines-ha/nines/system"
)

var update = flag.Bool("update", false, "write golden files anew")

// Each example, and a description that uses every field, has its rules in
// testdata.
func TestGolden(t *testing.T) {
	names, err := filepath.Glob("../../examples/*/nines.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no examples, %v", err)
	}
	for _, name := range append(names, everything, "../../system/testdata/valid/least.yaml") {
		folder := strings.TrimSuffix(filepath.Base(name), ".yaml")
		if folder == "nines" {
			folder = filepath.Base(filepath.Dir(name))
		}
		t.Run(folder, func(t *testing.T) {
			rendertest.Golden(t, filepath.Join("testdata", folder), renderAll(t, rendertest.Parse(t, name)), *update)
		})
	}
}

const everything = "../../system/testdata/valid/everything.yaml"

func renderAll(t *testing.T, sys *system.System) []render.File {
	t.Helper()
	files, err := istio.Render(sys, string(sys.Regions[0].Name), istio.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestRenderIsPure(t *testing.T) {
	sys := rendertest.Parse(t, everything)
	first := renderAll(t, sys)
	for range 5 {
		if diff := cmp.Diff(first, renderAll(t, rendertest.Parse(t, everything))); diff != "" {
			t.Fatal(diff)
		}
	}
	if diff := cmp.Diff(rendertest.Parse(t, everything), sys); diff != "" {
		t.Errorf("Render changed the system: %s", diff)
	}
}

func TestRenderRefuses(t *testing.T) {
	_, err := istio.Render(rendertest.Parse(t, everything), "mars", istio.Options{})
	if err == nil || !strings.Contains(err.Error(), `no region "mars"`) {
		t.Error(err)
	}
}

// What is applied first must not need what comes later: a route needs its
// destination, and who is let in must be known before anyone is kept out.
func TestOrder(t *testing.T) {
	var order []string
	for _, f := range renderAll(t, rendertest.Parse(t, everything)) {
		order = append(order, f.Path)
	}
	before := [][2]string{
		{"platform/istio/shared-configmap.yaml", "platform/istio/telemetry.yaml"},
		{"apps/fleet/mesh/gateway.yaml", "apps/fleet/vehicle/virtualservice-public.yaml"},
		{"apps/fleet/vehicle/destinationrule.yaml", "apps/fleet/vehicle/virtualservice.yaml"},
	}
	for _, pair := range before {
		first, second := slices.Index(order, pair[0]), slices.Index(order, pair[1])
		if first < 0 || second < 0 || first > second {
			t.Errorf("%s is number %d, %s number %d", pair[0], first, pair[1], second)
		}
	}
}

func parseText(t *testing.T, text string) *system.System {
	t.Helper()
	sys, err := system.Parse([]byte(text), "nines.yaml")
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return sys
}
