package prometheus

import (
	"fmt"
	"strconv"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/nines-ha/nines/render/istio"
)

// Series that rules make. A proxy has no series for an answer that it never gave,
// and what a series begins with is no increase: the first failures of all would not
// count. So they begin with nought, where their cluster begins.
const (
	failed  = "nines:upstream_rq_failed_total"
	refused = "nines:upstream_rq_refused_total"
)

type ruleGroups struct {
	Groups []ruleGroup `json:"groups"`
}

type ruleGroup struct {
	Name  string `json:"name"`
	Limit int    `json:"limit"` // of the series of one rule
	Rules []rule `json:"rules"`
}

type rule struct {
	Record string `json:"record"`
	Expr   string `json:"expr"`
}

func rules() (string, error) {
	text, err := yaml.Marshal(ruleGroups{Groups: []ruleGroup{{
		Name: "answers", Limit: 5000,
		Rules: []rule{{
			// Also what the proxy answers itself: no connection (503), nobody there
			// (503), a limit (503), no answer in time (504). A try that was repeated
			// does not count. Neither does a request whose caller went away.
			Record: failed,
			Expr:   `sum without (response_code_class) (envoy_cluster_upstream_rq{response_code_class="5xx"}) or 0 * envoy_cluster_upstream_rq_completed`,
		}, {
			// By a replica that is full, or by a limit of the proxy: of requests that wait
			// for a connection, or of those under way, which older proxies do not tell.
			Record: refused,
			Expr:   `(sum without (response_code) (envoy_cluster_upstream_rq{response_code="429"}) or 0 * envoy_cluster_upstream_rq_completed) + envoy_cluster_upstream_rq_pending_overflow + (envoy_cluster_upstream_rq_active_overflow or 0 * envoy_cluster_upstream_rq_completed)`,
		}},
	}}})
	return string(text), err
}

// A Version is a subset of a service, as the proxies of its callers know it, and
// what they saw of it in the last Window. Each query has one value or none, in the
// words of PromQL.
//
// A subset stays when a canary ends, and its series go on. So a query is asked
// when a step has lasted for its window, not before: then it sees nothing of an
// earlier canary.
type Version struct {
	Namespace, Service string
	Subset             string // istio.CanarySubset, istio.StableSubset, or "" for a service without
	Window             time.Duration
	Least              int // requests in the window; with fewer, there is no value
}

// cluster is Envoy's name of it.
func (v Version) cluster() string {
	return fmt.Sprintf(`{cluster_name="outbound|80|%s|%s.%s.svc.cluster.local"}`, v.Subset, v.Service, v.Namespace)
}

func (v Version) increase(metric string) string {
	return fmt.Sprintf("sum(increase(%s%s[%s]))", metric, v.cluster(), duration(v.Window))
}

func (v Version) enough() string {
	return fmt.Sprintf("(%s >= %d)", v.increase("envoy_cluster_upstream_rq_completed"), max(v.Least, 1))
}

// Requests is how many were answered, whoever answered them. Least does not matter.
func (v Version) Requests() string {
	return v.increase("envoy_cluster_upstream_rq_completed")
}

// Success is the percentage that was answered, and not with 5xx. What the client
// did wrong, 4xx, is no failure.
func (v Version) Success() string {
	return fmt.Sprintf("100 - 100 * %s / %s", v.increase(failed), v.enough())
}

// Retries is the percentage of tries that had to be repeated. Callers do not see
// these, as long as a repetition helps.
func (v Version) Retries() string {
	retries := v.increase("envoy_cluster_upstream_rq_retry")
	return fmt.Sprintf("100 * %s / (%s + %s)", retries, v.enough(), retries)
}

// Refused is the percentage that was one too many.
func (v Version) Refused() string {
	return fmt.Sprintf("100 * %s / %s", v.increase(refused), v.enough())
}

// P99 is in milliseconds, over all tries, of requests that were answered by the
// service. It is no finer than Envoy's buckets: 25, 50, 100, 250, 500, 1000.
func (v Version) P99() string {
	return fmt.Sprintf("histogram_quantile(0.99, sum by (le) (increase(envoy_cluster_upstream_rq_time_bucket%s[%s]))) and on () %s", v.cluster(), duration(v.Window), v.enough())
}

// pair has the value of the canary and then that of the stable version, or instead
// another one where that has none. There is one value if the canary has none. The
// order is that of "or", which Prometheus keeps in an answer for one moment.
func pair(canary, stable string, otherwise float64) string {
	return fmt.Sprintf("label_replace(%s, %q, %q, \"\", \"\")\nor\nlabel_replace(%s or vector(%s), %q, %q, \"\", \"\")",
		canary, "version", istio.CanarySubset, stable, number(otherwise), "version", istio.StableSubset)
}

func number(f float64) string {
	return strconv.FormatFloat(f, 'f', -1, 64)
}
