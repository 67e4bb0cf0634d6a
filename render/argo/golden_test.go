package argo_test

import (
	"flag"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nines-ha/nines/render"
	"github.com/nines-ha/nines/render/argo"
	"github.com/nines-ha/nines/render/istio"
	"github.com/nines-ha/nines/render/kubernetes"
	"github.com/nines-ha/nines/render/rendertest"
	"github.com/nines-ha/nines/system"
)

var update = flag.Bool("update", false, "write golden files anew")

const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// fleet is the example in its one region, with a platform that is there already,
// as AKS has it; regions is two regions with a platform and a canary.
func fleet(t *testing.T) (*system.System, argo.Options) {
	sys := rendertest.Parse(t, "../../examples/fleet/nines.yaml")
	return sys, argo.Options{Environment: "production", Repository: "https://git.example.com/fleet.git", Regions: []argo.Region{
		{Name: "westeurope", Services: services(t, sys, "westeurope")},
	}}
}

func regions(t *testing.T) (*system.System, argo.Options) {
	sys := rendertest.Parse(t, "testdata/regions.yaml")
	o := argo.Options{Environment: "local", Repository: "https://git.nines.internal/fleet.git"}
	for _, r := range sys.Regions {
		o.Regions = append(o.Regions, argo.Region{
			Name: string(r.Name),
			Platform: []argo.Component{
				{Name: "mesh", Wave: 1, Namespace: "aks-istio-system", Files: []render.File{load(t, "platform/mesh.yaml")}},
				{Name: "rollouts", Wave: 2, Namespace: "argo-rollouts", Files: []render.File{load(t, "platform/rollouts.yaml")}},
			},
			Services: services(t, sys, string(r.Name)),
		})
	}
	return sys, o
}

func services(t *testing.T, sys *system.System, region string) []render.File {
	t.Helper()
	images := map[string]string{}
	for _, s := range sys.Services {
		images[string(s.Name)] = "registry.example.com/fleet/" + string(s.Name) + digest
	}
	objects, err := kubernetes.Render(sys, region, images, kubernetes.Options{Mesh: true})
	if err != nil {
		t.Fatal(err)
	}
	rules, err := istio.Render(sys, region, istio.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return append(rules, objects...)
}

func load(t *testing.T, name string) render.File {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return render.File{Path: path.Base(name), Body: body}
}

var trees = map[string]func(*testing.T) (*system.System, argo.Options){"fleet": fleet, "regions": regions}

func TestGolden(t *testing.T) {
	for name, tree := range trees {
		t.Run(name, func(t *testing.T) {
			rendertest.Golden(t, filepath.Join("testdata", name), rendered(t, tree), *update)
		})
	}
}

func rendered(t *testing.T, tree func(*testing.T) (*system.System, argo.Options)) []render.File {
	t.Helper()
	sys, o := tree(t)
	files, err := argo.Render(sys, o)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestRenderIsPure(t *testing.T) {
	sys, o := regions(t)
	first, err := argo.Render(sys, o)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		again, err := argo.Render(sys, o)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, again); diff != "" {
			t.Fatal(diff)
		}
	}
	_, fresh := regions(t)
	if diff := cmp.Diff(fresh, o); diff != "" {
		t.Errorf("Render changed its options: %s", diff)
	}
}
