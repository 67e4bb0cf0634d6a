package twin

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nines-ha/nines/drill/fault"
	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/render/istio"
	"github.com/nines-ha/nines/render/kubernetes"
	"github.com/nines-ha/nines/system"
)

var update = flag.Bool("update", false, "write golden files anew")

const (
	service = "vehicle"
	digest  = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

func fleet(t *testing.T) *system.System { return example(t, "fleet") }

// whole is the example that a twin is a mistake in.
func whole(t *testing.T, twin Twin) *system.System {
	if twin.Drill == "shaping" {
		return example(t, "shaping")
	}
	return fleet(t)
}

func example(t *testing.T, name string) *system.System {
	t.Helper()
	file := "../../examples/" + name + "/nines.yaml"
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sys, err := system.Parse(body, file)
	if err != nil {
		t.Fatal(err)
	}
	return sys
}

func render(t *testing.T, sys *system.System, mesh bool) []ground.File {
	t.Helper()
	region := string(sys.Regions[0].Name)
	images := map[string]string{}
	for _, s := range sys.Services {
		images[string(s.Name)] = sys.Repository(s) + digest
	}
	rendered, err := kubernetes.Render(sys, region, images, kubernetes.Options{Mesh: mesh})
	if err != nil {
		t.Fatal(err)
	}
	if mesh {
		rules, err := istio.Render(sys, region, istio.Options{})
		if err != nil {
			t.Fatal(err)
		}
		rendered = append(rendered, rules...)
	}
	var files []ground.File
	for _, f := range rendered {
		files = append(files, ground.File{Path: f.Path, Body: f.Body})
	}
	return files
}

// become is the manifests of a twin of the fleet.
func become(t *testing.T, twin Twin) []ground.File {
	t.Helper()
	sys := whole(t, twin)
	edited, err := twin.Edit(sys, service)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(whole(t, twin), sys); diff != "" {
		t.Errorf("Edit changed the system itself: %s", diff)
	}
	files := render(t, edited, twin.Mesh)
	before := slices.Clone(files)
	patched, err := twin.Patch(files, service)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, files); diff != "" {
		t.Errorf("Patch changed the files it was given: %s", diff)
	}
	return patched
}

// Each twin of the fleet has in testdata the files that differ from the fleet's
// own, and the word "removed" in place of those that are gone.
func TestGolden(t *testing.T) {
	for _, twin := range All() {
		t.Run(twin.Name, func(t *testing.T) {
			got := map[string]string{}
			own := map[string]string{}
			for _, f := range render(t, whole(t, twin), twin.Mesh) {
				own[f.Path] = string(f.Body)
				got[fileName(f)] = "removed\n"
			}
			for _, f := range become(t, twin) {
				name := fileName(f)
				got[name] = string(f.Body)
				if own[f.Path] == got[name] {
					delete(got, name)
				}
			}
			if twin.Source == "" && len(twin.Platform) == 0 && twin.Variant == "" && len(got) == 0 {
				t.Fatal("the twin is no other than the fleet")
			}
			compare(t, filepath.Join("testdata", twin.Name), got)
		})
	}
}

// fileName is told apart from that of another service of the system.
func fileName(f ground.File) string {
	if folder := filepath.Base(filepath.Dir(f.Path)); strings.HasPrefix(folder, service+"-") {
		return folder + "-" + filepath.Base(f.Path)
	}
	return filepath.Base(f.Path)
}

func compare(t *testing.T, dir string, got map[string]string) {
	t.Helper()
	if *update {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		for name, body := range got {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, name := range names {
		body, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		want[filepath.Base(name)] = string(body)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s differs; if that is right, run go test ./drill/twin -update\n%s", dir, diff)
	}
}

func TestTwinsAreWhole(t *testing.T) {
	faults := map[string]bool{}
	for _, f := range fault.All() {
		faults[f.Name] = true
	}
	for _, twin := range All() {
		if found, err := Find(twin.Name); err != nil || found.Name != twin.Name {
			t.Errorf("%s is not found: %v", twin.Name, err)
		}
		if twin.About == "" || twin.Claim == "" || len(twin.Changes) == 0 {
			t.Errorf("%s does not say what it is", twin.Name)
		}
		if !faults[twin.Drill] {
			t.Errorf("%s is for the drill %q, and there is none", twin.Name, twin.Drill)
		}
		if twin.Variant != "" && twin.Variant != fault.RotationStopped {
			t.Errorf("%s is a variant that no fault has: %s", twin.Name, twin.Variant)
		}
		list, err := twin.patches(service)
		if err != nil {
			t.Error(err)
		}
		if len(list) == 0 && twin.edit == nil && twin.Source == "" && len(twin.Platform) == 0 && twin.Variant == "" {
			t.Errorf("%s changes nothing", twin.Name)
		}
		if twin.Source != "" {
			if _, err := os.Stat(filepath.Join("../..", twin.Source, "main.go")); err != nil {
				t.Errorf("%s: %v", twin.Name, err)
			}
		}
	}
	files, err := patches.ReadDir("patches")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if _, err := Find(strings.TrimSuffix(f.Name(), ".yaml")); err != nil {
			t.Errorf("patches/%s is nobody's", f.Name())
		}
	}
	if _, err := Find("evil"); err == nil || !strings.Contains(err.Error(), "no-drain") {
		t.Errorf("an unknown twin: %v", err)
	}
}

func TestSourceOfATwin(t *testing.T) {
	for _, twin := range All() {
		sys := whole(t, twin)
		edited, err := twin.Edit(sys, service)
		if err != nil {
			t.Fatal(err)
		}
		want := filepath.Join("../..", "fleet/vehicle")
		if twin.Source != "" {
			want = filepath.Join("../..", twin.Source)
		}
		if got := edited.Folder(edited.Services[0]); got != want {
			t.Errorf("%s is built from %s, want %s", twin.Name, got, want)
		}
	}
}

func TestEditRefuses(t *testing.T) {
	elsewhere := t.TempDir()
	for name, c := range map[string]struct {
		twin, service string
		change        func(*system.System)
		want          string
	}{
		"a service that is not there": {"no-drain", "radio", func(*system.System) {}, `no service "radio"`},
		"an image":                    {"memory-only", service, func(s *system.System) { s.Services[0].Source = "" }, "is an image"},
		"another program":             {"no-deadline", service, func(s *system.System) { s.Services[0].Source = "../../fleet/vehicle/api" }, "is built from"},
		"another repository":          {"no-deadline", service, func(s *system.System) { s.File = filepath.Join(elsewhere, "nines.yaml") }, "in the repository of nines"},
		"nothing to do wrong":         {"wrong-weights", service, func(*system.System) {}, "no room for it"},
		"the mistake is made":         {"one-replica", service, func(s *system.System) { s.Services[0].Scale.Replicas = system.Range{Min: 1, Max: 1} }, "already"},
	} {
		sys := fleet(t)
		c.change(sys)
		twin, err := Find(c.twin)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := twin.Edit(sys, c.service); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// A patch with a name of its own is for every object of that name: a namespace must
// not stay strict because the mesh was patched.
func TestPatchesEveryNamespace(t *testing.T) {
	for name, c := range map[string]struct {
		in    func(string) bool
		count int
	}{
		"permissive": {func(body string) bool { return strings.Contains(body, "mode: PERMISSIVE") }, 2},
		"no-policy":  {func(body string) bool { return strings.Contains(body, "kind: AuthorizationPolicy") }, 0},
	} {
		twin, err := Find(name)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, f := range become(t, twin) {
			if c.in(string(f.Body)) {
				n++
			}
			if strings.Contains(string(f.Body), "mode: STRICT") != (name != "permissive") && strings.Contains(string(f.Body), "kind: PeerAuthentication") {
				t.Errorf("%s: %s", name, f.Body)
			}
		}
		if n != c.count {
			t.Errorf("%s: %d objects, want %d", name, n, c.count)
		}
	}
}

func TestPatchRefuses(t *testing.T) {
	files := render(t, fleet(t), false)
	budget := func(f ground.File) bool { return strings.Contains(f.Path, "poddisruptionbudget") }
	for name, c := range map[string]struct {
		twin  string
		files []ground.File
		want  string
	}{
		"no budget to remove": {"no-pdb", slices.DeleteFunc(slices.Clone(files), budget), "no file holds a PodDisruptionBudget vehicle"},
		"no deployment":       {"no-drain", nil, "no file holds a Deployment vehicle"},
		"not YAML":            {"no-drain", []ground.File{{Path: "a.yaml", Body: []byte("\t:")}}, "a.yaml"},
		"patched already":     {"no-drain", become(t, Twin{Name: "no-drain"}), "changes nothing"},
	} {
		twin, err := Find(c.twin)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := twin.Patch(c.files, service); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
