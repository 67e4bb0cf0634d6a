package prometheus

import (
	"fmt"
	"time"

	rollouts "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/nines-ha/nines/render/istio"
	"github.com/nines-ha/nines/system"
)

const (
	// What is judged is the last of a step that takes longer.
	longestWindow = 30 * time.Minute
	longestPause  = time.Minute // between two looks

	// How many more requests of a hundred a canary may fail than the stable version does
	// at the same time, and how many more may be refused or have to be repeated.
	tolerance     = 1
	toleranceMore = 3

	// One burst of a busy node can fill a window that is shorter than this, and one
	// request that fails can be more than is allowed of a hundred.
	burst = time.Minute

	// How many times the failures that are allowed are too many in a short time, in
	// which one alone may be more than allowed.
	fastBurn                = 10
	all      system.Percent = 100_000_000

	queryTimeout = 5                // seconds
	errorPause   = 10 * time.Second // after a look that failed, Argo Rollouts' own
)

// template judges a canary at each step. The step goes on when each metric has been
// good for as long as it is to last. The canary is taken back if one stays bad, and
// at once if it fails ten times as often as it may. Without enough requests a metric
// is neither: the step waits, and after its deadline the canary is taken back too,
// and so it is when Prometheus does not answer for so long. What remains is a metric
// that is neither, of a canary that is asked: there the rollout stands still, for
// somebody to look at it.
func (m monitoring) template(service system.Service) *rollouts.AnalysisTemplate {
	c := service.Canary
	window := min(c.Hold, longestWindow)
	version := func(subset string, window time.Duration) Version {
		return Version{Namespace: string(m.system.Name), Service: string(service.Name), Subset: subset, Window: window, Least: c.Requests}
	}
	canary, stable := version(istio.CanarySubset, window), version(istio.StableSubset, window)
	p99 := float64(c.P99) / float64(time.Millisecond)

	look := m.look(c, window)
	requests := look
	requests.Name = "requests"
	requests.Provider = query(pair(canary.Requests()+" or vector(0)", stable.Requests(), 0))
	requests.SuccessCondition = fmt.Sprintf("len(result) == 2 && result[0] >= %d", c.Requests)
	requests.FailureCondition = "false" // too few are not a mistake
	// With no limit of failures it has failed if it was not good once before Count.
	requests.FailureLimit = new(intstr.FromInt32(-1))
	// This one ends first.
	look.Count = new(intstr.FromInt32(look.Count.IntVal + look.ConsecutiveSuccessLimit.IntVal + m.patience(window)))
	look.InconclusiveLimit = look.Count

	judge := func(name, expr, good, bad string) rollouts.Metric {
		metric := look
		metric.Name, metric.Provider = name, query(expr)
		metric.SuccessCondition = "len(result) == 2 && " + good
		metric.FailureCondition = "len(result) == 2 && (" + bad + ")"
		return metric
	}
	success := func(name string, window time.Duration, least system.Percent, tolerance int) rollouts.Metric {
		return judge(name,
			pair(version(istio.CanarySubset, window).Success(), version(istio.StableSubset, window).Success(), least.Percent()),
			fmt.Sprintf("result[0] >= %s && result[0] >= result[1] - %d", number(least.Percent()), tolerance),
			fmt.Sprintf("result[0] < %s || result[0] < result[1] - %d", number(least.Percent()), tolerance))
	}
	noMore := func(name, canary, stable string) rollouts.Metric {
		return judge(name, pair(canary, stable, 0),
			fmt.Sprintf("result[0] <= result[1] + %d", toleranceMore),
			fmt.Sprintf("result[0] > result[1] + %d", toleranceMore))
	}
	slow := judge("p99", pair(canary.P99(), stable.P99(), p99),
		fmt.Sprintf("result[0] <= %s && result[0] <= result[1] + %s", number(p99), number(p99/2)),
		fmt.Sprintf("result[0] > %s || result[0] > result[1] + %s", number(p99), number(p99/2)))

	early := m.early(c)
	first := success("success-early", early.window, max(0, all-fastBurn*(all-c.Success)), fastBurn*tolerance)
	first.InitialDelay, first.Interval = early.delay, early.interval
	first.Count, first.InconclusiveLimit = early.count, early.count
	first.FailureLimit, first.ConsecutiveSuccessLimit = new(intstr.FromInt32(0)), nil
	metrics := []rollouts.Metric{
		requests,
		success("success", window, c.Success, tolerance),
		first,
		slow,
		noMore("saturation", canary.Refused(), stable.Refused()),
		noMore("retries", canary.Retries(), stable.Retries()),
	}
	object := metav1.ObjectMeta{Name: Template(service.Name), Namespace: string(m.system.Name), Labels: map[string]string{
		"app.kubernetes.io/name":       string(service.Name),
		"app.kubernetes.io/part-of":    string(m.system.Name),
		"app.kubernetes.io/managed-by": "nines",
	}}
	return &rollouts.AnalysisTemplate{
		TypeMeta:   metav1.TypeMeta{APIVersion: "argoproj.io/v1alpha1", Kind: "AnalysisTemplate"},
		ObjectMeta: object,
		Spec:       rollouts.AnalysisTemplateSpec{Metrics: metrics},
	}
}

// look is when is looked: first when the window is in the step as a whole, and what
// was counted last has been collected; then until the step has lasted, and on until
// its deadline.
func (m monitoring) look(c system.Canary, window time.Duration) rollouts.Metric {
	pause := m.pause(window)
	delay := window + m.scrape
	row := 1 + int32((c.Hold-window+pause-1)/pause)
	count := max(row, 1+int32((c.Deadline-delay)/pause))
	return rollouts.Metric{
		InitialDelay:            rollouts.DurationString(delay.String()),
		Interval:                rollouts.DurationString(pause.String()),
		ConsecutiveSuccessLimit: new(intstr.FromInt32(row)),
		Count:                   new(intstr.FromInt32(count)),
		FailureLimit:            new(intstr.FromInt32(m.patience(window))),
		InconclusiveLimit:       new(intstr.FromInt32(count)),
		ConsecutiveErrorLimit:   new(intstr.FromInt32(int32(c.Deadline / errorPause))),
	}
}

// pause is that between two looks at a window.
func (m monitoring) pause(window time.Duration) time.Duration {
	return max(min(max(m.scrape, window/samples), longestPause).Truncate(time.Second), time.Second)
}

// patience is how often a canary may look bad: as often as one burst is in the
// window. It is taken back if it stays so.
func (m monitoring) patience(window time.Duration) int32 {
	if window >= burst {
		return 1
	}
	return int32(window / m.pause(window))
}

type early struct {
	window          time.Duration
	delay, interval rollouts.DurationString
	count           *intstr.IntOrString
}

// early looks at the shortest window that says something, from then on until the
// step has lasted, and needs one look: a canary that fails much is not asked for all
// of a long step. It takes nothing for good that the others do not.
func (m monitoring) early(c system.Canary) early {
	window := min(samples*usualInterval, c.Hold)
	pause := min(max(usualInterval, c.Hold/20), longestPause).Truncate(time.Second)
	delay := window + m.scrape
	return early{
		window:   window,
		delay:    rollouts.DurationString(delay.String()),
		interval: rollouts.DurationString(pause.String()),
		count:    new(intstr.FromInt32(1 + int32(max(c.Hold-delay, 0)/pause))),
	}
}

func query(expr string) rollouts.MetricProvider {
	return rollouts.MetricProvider{Prometheus: &rollouts.PrometheusMetric{
		Address: Address,
		Query:   expr,
		Timeout: new(int64(queryTimeout)),
	}}
}
