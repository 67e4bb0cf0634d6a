//go:build ground

package prometheus_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/nines-ha/nines/ground/engine"
	"github.com/nines-ha/nines/render/istio"
)

// Prometheus' own tool reads what is rendered, and answers the queries.

func TestConfigIsRead(t *testing.T) {
	dir := t.TempDir()
	writeConfig(t, dir)
	promtool(t, dir, "check", "config", "prometheus.yaml")
}

func TestQueries(t *testing.T) {
	const (
		canaryOf = `{cluster_name="outbound|80|canary|vehicle.delivery.svc.cluster.local",instance="%s"%s}`
		stableOf = `{cluster_name="outbound|80|stable|vehicle.delivery.svc.cluster.local",instance="%s"%s}`
	)
	// A proxy has these from when it knows the cluster, and others from when there is
	// something to count.
	quiet := func(series, instance string) map[string]string {
		of := fmt.Sprintf(series, instance, "")
		return map[string]string{
			"envoy_cluster_upstream_rq_retry" + of:            "0x100",
			"envoy_cluster_upstream_rq_pending_overflow" + of: "0x100",
		}
	}
	completed := func(series, instance, values string) map[string]string {
		all := quiet(series, instance)
		all["envoy_cluster_upstream_rq_completed"+fmt.Sprintf(series, instance, "")] = values
		return all
	}
	one := func(metric, series, label, values string) map[string]string {
		return map[string]string{metric + fmt.Sprintf(series, "gateway", ","+label): values}
	}
	failures := func(series, values string) map[string]string {
		return one("envoy_cluster_upstream_rq", series, `response_code_class="5xx"`, values)
	}
	// The next nearest bucket has all of them.
	buckets := func(series string, values map[string]string) map[string]string {
		all := map[string]string{}
		for le, v := range values {
			for name, v := range one("envoy_cluster_upstream_rq_time_bucket", series, fmt.Sprintf(`le="%s"`, le), v) {
				all[name] = v
			}
		}
		return all
	}
	busy := completed(stableOf, "gateway", "0+950x100")

	// Looked at after a minute, through a window of 20 s, in which are four samples.
	for _, test := range []struct {
		name   string
		series []map[string]string
		metric string
		want   map[string]float64
	}{
		{"well", []map[string]string{completed(canaryOf, "gateway", "0+50x100"), busy}, "requests", both(200, 3800)},
		{"well", []map[string]string{completed(canaryOf, "gateway", "0+50x100"), busy}, "success", both(100, 100)},
		{"well", []map[string]string{completed(canaryOf, "gateway", "0+50x100"), busy}, "saturation", both(0, 0)},
		{"well", []map[string]string{completed(canaryOf, "gateway", "0+50x100"), busy}, "retries", both(0, 0)},

		{"all its callers are counted", []map[string]string{completed(canaryOf, "gateway", "0+50x100"), completed(canaryOf, "sidecar", "0+10x100"), busy}, "requests", both(240, 3800)},

		{"the first failures of all count", []map[string]string{completed(canaryOf, "gateway", "0+50x100"), failures(canaryOf, "_x9 10+10x90"), busy}, "success", both(80, 100)},
		{"nothing but failures", []map[string]string{completed(canaryOf, "gateway", "_x8 0+50x90"), failures(canaryOf, "_x9 50+50x90"), busy}, "success", both(0, 100)},
		{"the stable version fails", []map[string]string{completed(canaryOf, "gateway", "0+50x100"), busy, failures(stableOf, "0+95x100")}, "success", both(100, 90)},

		{"nobody asks it", []map[string]string{completed(canaryOf, "gateway", "5000x100"), failures(canaryOf, "100x100"), busy}, "requests", both(0, 3800)},
		{"nobody asks it", []map[string]string{completed(canaryOf, "gateway", "5000x100"), failures(canaryOf, "100x100"), busy}, "success", stableOnly(100)},
		{"few ask it", []map[string]string{completed(canaryOf, "gateway", "0+20x100"), busy}, "success", stableOnly(100)},
		{"few ask it, and it is slow", []map[string]string{completed(canaryOf, "gateway", "0+20x100"), busy, buckets(canaryOf, map[string]string{"100": "0x100", "+Inf": "0+20x100"})}, "p99", stableOnly(300)},
		{"nobody knows of it", nil, "requests", both(0, 0)},
		{"nobody knows of it", nil, "success", stableOnly(99.9)},
		{"nobody knows of it", nil, "p99", stableOnly(300)},
		{"nobody knows of it", nil, "saturation", stableOnly(0)},
		{"nobody knows of it", nil, "retries", stableOnly(0)},

		// Prometheus begins anew, with counters that do not.
		{"history is lost", []map[string]string{completed(canaryOf, "gateway", "_x10 100000+50x90"), failures(canaryOf, "_x10 50000x90"), busy}, "success", both(100, 100)},
		{"history was lost just now", []map[string]string{completed(canaryOf, "gateway", "_x11 100000+50x90"), failures(canaryOf, "_x11 50000x90"), busy}, "success", stableOnly(100)},
		{"an earlier canary failed", []map[string]string{completed(canaryOf, "gateway", "0+50x100"), failures(canaryOf, "0+50x7 350x90"), busy}, "success", both(100, 100)},
		{"a gateway begins anew", []map[string]string{completed(canaryOf, "gateway", "10000+50x10 0+50x90"), completed(canaryOf, "other", "0+50x100"), busy}, "success", both(100, 100)},

		{"slow", []map[string]string{completed(canaryOf, "gateway", "0+50x100"), busy,
			buckets(canaryOf, map[string]string{"250": "0+25x100", "500": "0+50x100", "+Inf": "0+50x100"}),
			buckets(stableOf, map[string]string{"25": "0+950x100", "+Inf": "0+950x100"})}, "p99", both(495, 24.75)},
		{"full", []map[string]string{completed(canaryOf, "gateway", "0+50x100"), busy,
			one("envoy_cluster_upstream_rq", canaryOf, `response_code="429"`, "_x9 5+5x90")}, "saturation", both(10, 0)},
		{"full at the proxy", []map[string]string{completed(canaryOf, "gateway", "0+50x100"), busy,
			{"envoy_cluster_upstream_rq_active_overflow" + fmt.Sprintf(canaryOf, "gateway", ""): "0+5x100"}}, "saturation", both(10, 0)},
	} {
		t.Run(test.name+"/"+test.metric, func(t *testing.T) {
			dir := t.TempDir()
			writeConfig(t, dir)
			metric, ok := byName(template(t, 20*time.Second))[test.metric]
			if !ok {
				t.Fatalf("no metric %s", test.metric)
			}
			type sample struct {
				Labels string  `json:"labels"`
				Value  float64 `json:"value"`
			}
			type series struct {
				Series string `json:"series"`
				Values string `json:"values"`
			}
			input := []series{}
			for _, some := range test.series {
				for name, values := range some {
					input = append(input, series{name, values})
				}
			}
			want := []sample{}
			for version, value := range test.want {
				want = append(want, sample{fmt.Sprintf(`{version=%q}`, version), value})
			}
			text, err := yaml.Marshal(map[string]any{
				"rule_files": []string{"rules.yaml"}, "evaluation_interval": "5s", "fuzzy_compare": true,
				"tests": []any{map[string]any{
					"interval": "5s", "input_series": input,
					"promql_expr_test": []any{map[string]any{"expr": metric.Provider.Prometheus.Query, "eval_time": "60s", "exp_samples": want}},
				}},
			})
			if err != nil {
				t.Fatal(err)
			}
			write(t, dir, "test.yaml", string(text))
			promtool(t, dir, "test", "rules", "test.yaml")
		})
	}
}

func both(canary, stable float64) map[string]float64 {
	return map[string]float64{istio.CanarySubset: canary, istio.StableSubset: stable}
}

func stableOnly(stable float64) map[string]float64 {
	return map[string]float64{istio.StableSubset: stable}
}

func writeConfig(t *testing.T, dir string) {
	t.Helper()
	for _, f := range renderAll(t, holding(t, 20*time.Second)) {
		if !strings.HasSuffix(f.Path, "/configmap.yaml") {
			continue
		}
		var object corev1.ConfigMap
		if err := yaml.UnmarshalStrict(f.Body, &object); err != nil {
			t.Fatal(err)
		}
		for name, text := range object.Data {
			write(t, dir, name, text)
		}
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func promtool(t *testing.T, dir string, args ...string) {
	t.Helper()
	cache, err := engine.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	source, err := engine.Source("")
	if err != nil {
		t.Fatal(err)
	}
	program, err := (&engine.Builder{CacheDir: cache, Source: source}).Path("promtool")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		test, _ := os.ReadFile(filepath.Join(dir, "test.yaml"))
		t.Errorf("promtool %s: %v\n%s\n%s", strings.Join(args, " "), err, out, test)
	}
}
