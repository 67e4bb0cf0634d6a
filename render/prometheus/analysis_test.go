package prometheus_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	rollouts "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/argoproj/argo-rollouts/utils/evaluate"
	"sigs.k8s.io/yaml"

	"github.com/nines-ha/nines/render/istio"
	"github.com/nines-ha/nines/render/prometheus"
	"github.com/nines-ha/nines/render/rendertest"
	"github.com/nines-ha/nines/system"
)

const (
	good    = rollouts.AnalysisPhaseSuccessful
	bad     = rollouts.AnalysisPhaseFailed
	neither = rollouts.AnalysisPhaseInconclusive
)

// What Argo Rollouts makes of what Prometheus answers, by its own evaluator: the
// canary first, then the stable version. The example has 99.9 % and 300 ms.
func TestVerdicts(t *testing.T) {
	nan := math.NaN()
	metrics := byName(template(t, 2*time.Minute))
	for _, test := range []struct {
		metric string
		result []float64
		want   rollouts.AnalysisPhase
	}{
		{"requests", []float64{100, 1900}, good},
		{"requests", []float64{99.9, 1900}, neither},
		{"requests", []float64{0, 0}, neither},
		{"requests", []float64{2000, 0}, good}, // nobody asks the stable one any more

		{"success", []float64{100, 100}, good},
		{"success", []float64{99.9, 100}, good},
		{"success", []float64{99.89, 100}, bad},
		{"success", []float64{0, 100}, bad},
		{"success", []float64{95, 95}, bad}, // it may be the reason for both
		{"success", []float64{100, 50}, good},

		{"success-early", []float64{99.5, 100}, good},
		{"success-early", []float64{99, 100}, good},
		{"success-early", []float64{98.9, 100}, bad},

		{"p99", []float64{20, 20}, good},
		{"p99", []float64{300, 290}, good},
		{"p99", []float64{301, 290}, bad},
		{"p99", []float64{200, 20}, bad}, // in time, and ten times as slow
		{"p99", []float64{20, nan}, neither},

		{"saturation", []float64{0, 0}, good},
		{"saturation", []float64{3, 0}, good},
		{"saturation", []float64{3.1, 0}, bad},
		{"saturation", []float64{30, 30}, good}, // too many are refused by both

		{"retries", []float64{0, 0}, good},
		{"retries", []float64{5, 0.2}, bad},
	} {
		if got := assess(t, metrics[test.metric], test.result); got != test.want {
			t.Errorf("%s of %v is %s, not %s", test.metric, test.result, got, test.want)
		}
	}
	// What is not there is never good, and never bad.
	for name, metric := range metrics {
		for _, result := range [][]float64{{}, {100}, {nan, nan}, {nan, 100}} {
			if got := assess(t, metric, result); got != neither {
				t.Errorf("%s of %v is %s, not %s", name, result, got, neither)
			}
		}
	}
}

func assess(t *testing.T, metric rollouts.Metric, result []float64) rollouts.AnalysisPhase {
	t.Helper()
	phase, err := call(evaluate.EvaluateResult, result, metric)
	if err != nil {
		t.Errorf("%s of %v: %v", metric.Name, result, err)
	}
	return phase
}

// call leaves the evaluator without a log.
func call[Log any](f func(any, rollouts.Metric, Log) (rollouts.AnalysisPhase, error), result []float64, metric rollouts.Metric) (rollouts.AnalysisPhase, error) {
	var none Log
	return f(result, metric, none)
}

// What holds for any hold and deadline.
func TestTemplate(t *testing.T) {
	for _, hold := range []time.Duration{10 * time.Second, 11 * time.Second, 20 * time.Second, time.Minute, 2 * time.Minute, 31 * time.Minute, 24 * time.Hour} {
		t.Run(hold.String(), func(t *testing.T) {
			metrics := byName(template(t, hold))
			for name, metric := range metrics {
				delay, interval, window := length(t, string(metric.InitialDelay)), length(t, string(metric.Interval)), window(t, metric)
				if delay <= window {
					t.Errorf("%s is looked at after %s and sees %s, an earlier canary too", name, delay, window)
				}
				if metric.Count == nil {
					t.Fatalf("%s is looked at for ever", name)
				}
				if name == "success-early" {
					if metric.FailureLimit.IntValue() != 0 {
						t.Errorf("%s is not at once", name)
					}
					if last := delay + interval*time.Duration(metric.Count.IntValue()-1); last > max(hold, delay) {
						t.Errorf("%s makes a step of %s take %s", name, hold, last)
					}
					continue
				}
				// From the first moment that is seen to the last good look.
				row := metric.ConsecutiveSuccessLimit.IntValue()
				if judged := window + interval*time.Duration(row-1); judged < hold {
					t.Errorf("%s is judged for %s, not %s", name, judged, hold)
				}
				if last := delay + interval*time.Duration(metric.Count.IntValue()-1); name == "requests" && last > deadline(hold) {
					t.Errorf("requests are waited for until %s", last)
				}
				// Argo Rollouts refuses other numbers.
				if count := metric.Count.IntValue(); name != "requests" && metric.FailureLimit.IntValue() > 5 || count < max(metric.FailureLimit.IntValue(), 0)+row || count < metric.InconclusiveLimit.IntValue() {
					t.Errorf("%s has not the looks that it asks for: %d", name, count)
				}
			}
			// Else the rollout would stand still, and not go back, if nobody asks it.
			if metrics["requests"].Count.IntValue() >= metrics["success"].Count.IntValue() {
				t.Error("too few requests do not end a step first")
			}
			if limit := metrics["requests"].FailureLimit.IntValue(); limit != -1 {
				t.Errorf("too few requests have a limit of %d, and count as good at the end", limit)
			}
		})
	}
}

// template is that of the example, with another hold.
func template(t *testing.T, hold time.Duration) rollouts.AnalysisTemplate {
	t.Helper()
	files := renderAll(t, holding(t, hold))
	var template rollouts.AnalysisTemplate
	last := files[len(files)-1]
	if err := yaml.UnmarshalStrict(last.Body, &template); err != nil {
		t.Fatal(err)
	}
	if template.Name != prometheus.Template("vehicle") || template.Namespace != "delivery" {
		t.Errorf("%s is %s/%s", last.Path, template.Namespace, template.Name)
	}
	return template
}

func holding(t *testing.T, hold time.Duration) *system.System {
	t.Helper()
	sys := rendertest.Parse(t, example)
	canary := &sys.Services[0].Canary
	canary.Hold, canary.Deadline = hold, deadline(hold)
	return sys
}

func deadline(hold time.Duration) time.Duration {
	return max(10*time.Minute, 2*hold)
}

func byName(template rollouts.AnalysisTemplate) map[string]rollouts.Metric {
	metrics := map[string]rollouts.Metric{}
	for _, metric := range template.Spec.Metrics {
		metrics[metric.Name] = metric
	}
	return metrics
}

func length(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// window is that of a query, which has one only.
func window(t *testing.T, metric rollouts.Metric) time.Duration {
	t.Helper()
	query := metric.Provider.Prometheus.Query
	_, rest, _ := strings.Cut(query, "[")
	text, _, _ := strings.Cut(rest, "]")
	if n := strings.Count(query, "["+text+"]"); n == 0 || n != strings.Count(query, "[") {
		t.Fatalf("%s has more than one window:\n%s", metric.Name, query)
	}
	return length(t, text)
}

func ExampleVersion() {
	canary := prometheus.Version{Namespace: "fleet", Service: "vehicle", Subset: istio.CanarySubset, Window: 20 * time.Second, Least: 100}
	fmt.Println(canary.Requests())
	// Output: sum(increase(envoy_cluster_upstream_rq_completed{cluster_name="outbound|80|canary|vehicle.fleet.svc.cluster.local"}[20s]))
}
