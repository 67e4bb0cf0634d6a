package prometheus_test

import (
	"flag"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/nines-ha/nines/ground/engine"
	"github.com/nines-ha/nines/render"
	"github.com/nines-ha/nines/render/istio"
	"github.com/nines-ha/nines/render/prometheus"
	"github.com/nines-ha/nines/render/rendertest"
	"github.com/nines-ha/nines/system"
)

var update = flag.Bool("update", false, "write golden files anew")

const (
	example    = "../../examples/delivery/nines.yaml"
	everything = "../../system/testdata/valid/delivery.yaml"
)

// A step of seconds, and all that can be said of a canary.
func TestGolden(t *testing.T) {
	for folder, name := range map[string]string{"example": example, "everything": everything} {
		t.Run(folder, func(t *testing.T) {
			sys := rendertest.Parse(t, name)
			rendertest.Golden(t, filepath.Join("testdata", folder), renderAll(t, sys), *update)
		})
	}
}

func TestRenderIsPure(t *testing.T) {
	first := renderAll(t, rendertest.Parse(t, everything))
	for range 5 {
		if diff := cmp.Diff(first, renderAll(t, rendertest.Parse(t, everything))); diff != "" {
			t.Fatal(diff)
		}
	}
}

// What proxies are asked for, they must keep: render/istio says what.
func TestStatisticsAreKept(t *testing.T) {
	sys := rendertest.Parse(t, example)
	files, err := istio.Render(sys, string(sys.Regions[0].Name), istio.Options{})
	if err != nil {
		t.Fatal(err)
	}
	kept, asked := matcher(t, files), filter(t, renderAll(t, sys))
	const cluster = "cluster.outbound|80|canary|vehicle.delivery.svc.cluster.local;."
	for _, statistic := range []string{"completed", "5xx", "429", "retry", "pending_overflow", "active_overflow", "time"} {
		name := cluster + "upstream_rq_" + statistic
		if !asked.MatchString(name) {
			t.Errorf("%s is not asked for", name)
		}
		if !slices.ContainsFunc(kept, func(r *regexp.Regexp) bool { return r.MatchString(name) }) {
			t.Errorf("%s is not kept", name)
		}
	}
	for _, name := range []string{cluster + "upstream_rq_200", cluster + "external.upstream_rq_5xx", cluster + "zone.a.b.upstream_rq_time"} {
		if asked.MatchString(name) {
			t.Errorf("%s is asked for", name)
		}
	}
}

func matcher(t *testing.T, files []render.File) (kept []*regexp.Regexp) {
	t.Helper()
	var mesh struct {
		DefaultConfig struct {
			ProxyStatsMatcher struct {
				InclusionRegexps []string `json:"inclusionRegexps"`
			} `json:"proxyStatsMatcher"`
		} `json:"defaultConfig"`
	}
	data(t, files, "shared-configmap.yaml", "mesh", &mesh)
	for _, text := range mesh.DefaultConfig.ProxyStatsMatcher.InclusionRegexps {
		kept = append(kept, regexp.MustCompile(text))
	}
	return kept
}

func filter(t *testing.T, files []render.File) *regexp.Regexp {
	t.Helper()
	var config struct {
		Scrape []struct {
			Name   string              `json:"job_name"`
			Params map[string][]string `json:"params"`
		} `json:"scrape_configs"`
	}
	data(t, files, "configmap.yaml", "prometheus.yaml", &config)
	for _, job := range config.Scrape {
		if job.Name == "proxies" {
			return regexp.MustCompile(job.Params["filter"][0])
		}
	}
	t.Fatal("proxies are not asked")
	return nil
}

// data reads a text in the ConfigMap of a file.
func data(t *testing.T, files []render.File, file, key string, into any) {
	t.Helper()
	for _, f := range files {
		if path.Base(f.Path) != file {
			continue
		}
		var object corev1.ConfigMap
		if err := yaml.UnmarshalStrict(f.Body, &object); err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal([]byte(object.Data[key]), into); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("there is no %s", file)
}

func TestRenderRefuses(t *testing.T) {
	_, err := prometheus.Render(rendertest.Parse(t, everything), "mars")
	if err == nil || !strings.Contains(err.Error(), `no region "mars"`) {
		t.Error(err)
	}
}

func renderAll(t *testing.T, sys *system.System) []render.File {
	t.Helper()
	files, err := prometheus.Render(sys, string(sys.Regions[0].Name))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// The version that is asked for is the one that the ground can make.
func TestImage(t *testing.T) {
	if want := "quay.io/prometheus/prometheus:v" + engine.PrometheusVersion; prometheus.Image != want {
		t.Errorf("%s, and the engine is %s", prometheus.Image, want)
	}
}
