package kubernetes_test

import (
	"flag"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nines-ha/nines/render/kubernetes"
	"github.com/nines-ha/nines/render/rendertest"
	"github.com/nines-ha/nines/system"
)

var update = flag.Bool("update", false, "write golden files anew")

const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// Each example, and a description that uses every field, has its manifests
// beside it in testdata, without a mesh and with one.
func TestGolden(t *testing.T) {
	names, err := filepath.Glob("../../examples/*/nines.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no examples, %v", err)
	}
	for _, name := range append(names, "testdata/everything.yaml", "testdata/least.yaml") {
		folder := strings.TrimSuffix(filepath.Base(name), ".yaml")
		if folder == "nines" {
			folder = filepath.Base(filepath.Dir(name))
		}
		t.Run(folder, func(t *testing.T) {
			sys := rendertest.Parse(t, name)
			files, err := kubernetes.Render(sys, string(sys.Regions[0].Name), built(sys), kubernetes.Options{})
			if err != nil {
				t.Fatal(err)
			}
			rendertest.Golden(t, filepath.Join("testdata", folder), files, *update)
			files, err = kubernetes.Render(sys, string(sys.Regions[0].Name), built(sys), kubernetes.Options{Mesh: true})
			if err != nil {
				t.Fatal(err)
			}
			rendertest.Golden(t, filepath.Join("testdata", folder+"-mesh"), files, *update)
		})
	}
}

func TestRenderIsPure(t *testing.T) {
	sys := rendertest.Parse(t, "testdata/everything.yaml")
	first, err := kubernetes.Render(sys, "westeurope", built(sys), kubernetes.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		again, err := kubernetes.Render(rendertest.Parse(t, "testdata/everything.yaml"), "westeurope", built(sys), kubernetes.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, again); diff != "" {
			t.Fatal(diff)
		}
	}
	if diff := cmp.Diff(rendertest.Parse(t, "testdata/everything.yaml"), sys); diff != "" {
		t.Errorf("Render changed the system: %s", diff)
	}
}

func TestRenderRefuses(t *testing.T) {
	sys := rendertest.Parse(t, "testdata/least.yaml")
	cases := []struct {
		name, region string
		images       map[string]string
		want         string
	}{
		{"a region it does not have", "mars", built(sys), `no region "mars"`},
		{"a service without image", "westeurope", nil, "service vehicle has no image yet"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			files, err := kubernetes.Render(sys, c.region, c.images, kubernetes.Options{})
			if err == nil || files != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%d files, %v; want %q", len(files), err, c.want)
			}
		})
	}
}

// What is applied first must not need what comes later.
func TestOrder(t *testing.T) {
	sys := rendertest.Parse(t, "testdata/everything.yaml")
	files, err := kubernetes.Render(sys, "westeurope", built(sys), kubernetes.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, f := range files {
		order = append(order, f.Path)
	}
	before := [][2]string{
		{"apps/fleet/namespace.yaml", "apps/fleet/vehicle/serviceaccount.yaml"},
		{"apps/fleet/vehicle/serviceaccount.yaml", "apps/fleet/vehicle/deployment.yaml"},
		{"apps/fleet/vehicle/configmap.yaml", "apps/fleet/vehicle/deployment.yaml"},
		{"apps/fleet/vehicle/deployment.yaml", "apps/fleet/vehicle/horizontalpodautoscaler.yaml"},
	}
	for _, pair := range before {
		first, second := slices.Index(order, pair[0]), slices.Index(order, pair[1])
		if first < 0 || second < 0 || first > second {
			t.Errorf("%s is number %d, %s number %d", pair[0], first, pair[1], second)
		}
	}
}

func built(sys *system.System) map[string]string {
	images := map[string]string{}
	for _, service := range sys.Services {
		if service.Source != "" {
			images[string(service.Name)] = sys.Repository(service) + digest
		}
	}
	return images
}
