package prometheus

import (
	"fmt"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/nines-ha/nines/render/istio"
)

// Namespaces of the controllers that are watched.
const (
	argoCD       = "argocd"
	argoRollouts = "argo-rollouts"
)

// Ports on which proxies tell what they count, which the mesh leaves alone: it is
// asked for in plaintext from outside the mesh. The agent's port has the metrics of
// the service beside it too.
const (
	envoyPort = "15090"
	agentPort = "15020"
	statsPath = "/stats/prometheus"
)

// The configuration of Prometheus, as far as it is used.
type config struct {
	Global  global   `json:"global"`
	Storage storage  `json:"storage"`
	Rules   []string `json:"rule_files"`
	Scrape  []job    `json:"scrape_configs"`
}

type global struct {
	Interval       string            `json:"scrape_interval"`
	Timeout        string            `json:"scrape_timeout"`
	Evaluation     string            `json:"evaluation_interval"`
	ExternalLabels map[string]string `json:"external_labels"`

	// No target and no label makes more series than these; one that would is
	// down, and says so.
	Body       string `json:"body_size_limit"`
	Samples    int    `json:"sample_limit"`
	Targets    int    `json:"target_limit"`
	Labels     int    `json:"label_limit"`
	LabelName  int    `json:"label_name_length_limit"`
	LabelValue int    `json:"label_value_length_limit"`
}

type storage struct {
	TSDB struct {
		Retention struct {
			Time string `json:"time"`
			Size string `json:"size"`
		} `json:"retention"`
	} `json:"tsdb"`
}

type job struct {
	Name     string              `json:"job_name"`
	Path     string              `json:"metrics_path,omitempty"`
	Params   map[string][]string `json:"params,omitempty"`
	Formats  []string            `json:"scrape_protocols,omitempty"`
	Interval string              `json:"scrape_interval,omitempty"`
	Timeout  string              `json:"scrape_timeout,omitempty"`
	Pods     []pods              `json:"kubernetes_sd_configs,omitempty"`
	Static   []static            `json:"static_configs,omitempty"`
	Targets  []relabel           `json:"relabel_configs,omitempty"`
	Metrics  []relabel           `json:"metric_relabel_configs,omitempty"`
}

type pods struct {
	Role       string `json:"role"`
	Namespaces struct {
		Names []string `json:"names"`
	} `json:"namespaces"`
}

type static struct {
	Targets []string `json:"targets"`
}

type relabel struct {
	Source      []string `json:"source_labels,omitempty"`
	Regex       string   `json:"regex,omitempty"`
	Target      string   `json:"target_label,omitempty"`
	Replacement string   `json:"replacement,omitempty"`
	Action      string   `json:"action,omitempty"`
}

// answers are the statistics that the queries are made of, as Envoy names them. What
// it counts again for callers from outside or by zone is not among them.
const answers = `^cluster\.outbound\|80\|[^|]*\|[^;]*;\.upstream_rq_(completed|5xx|429|retry|(active|pending)_overflow|time)$`

// slow is how often is asked what judges nothing.
const slow = 15 * time.Second

func (m monitoring) config() (string, error) {
	c := config{
		Global: global{
			Interval: duration(m.scrape), Timeout: duration(m.scrape), Evaluation: duration(m.scrape),
			ExternalLabels: map[string]string{"system": string(m.system.Name), "region": m.region},
			Body:           "4MB", Samples: 2000, Targets: 500, Labels: 32, LabelName: 128, LabelValue: 512,
		},
		Rules: []string{rulesFile},
		Scrape: []job{
			m.proxies(),
			m.services(),
			{
				Name: "controllers", Interval: duration(slow), Timeout: duration(usualInterval),
				Pods: inNamespaces(istio.SystemNamespace, argoCD, argoRollouts),
				Targets: append([]relabel{
					drop("__meta_kubernetes_pod_phase", "Succeeded|Failed"),
					keepOne([]string{"__meta_kubernetes_namespace", "__meta_kubernetes_pod_container_port_name", "__meta_kubernetes_pod_container_port_number"}, controllerPorts),
				}, named()...),
				Metrics: []relabel{keep("__name__", controllerMetrics)},
			},
			{
				Name: Name, Interval: duration(slow), Timeout: duration(usualInterval),
				Static:  []static{{Targets: []string{fmt.Sprintf("localhost:%d", Port)}}},
				Metrics: []relabel{keep("__name__", ownMetrics)},
			},
		},
	}
	c.Storage.TSDB.Retention.Time, c.Storage.TSDB.Retention.Size = retentionTime, retentionSize
	text, err := yaml.Marshal(c)
	return string(text), err
}

// proxies are the gateway's and the services'. They are asked for no more than the
// queries need: a proxy has thousands of series, and writing them costs it more
// than counting does.
func (m monitoring) proxies() job {
	return job{
		Name: proxiesJob, Path: statsPath,
		Params: map[string][]string{"filter": {answers}},
		Pods:   inNamespaces(string(m.system.Name), istio.IngressNamespace),
		Targets: append([]relabel{
			drop("__meta_kubernetes_pod_phase", "Succeeded|Failed"),
			keep("__meta_kubernetes_pod_container_port_number", envoyPort),
		}, named()...),
		Metrics: []relabel{
			keep("__name__", `envoy_cluster_upstream_rq(_completed|_retry|_(active|pending)_overflow|_time_(bucket|count|sum))?`),
			// Minutes and hours are no answer, and each is a series.
			dropMetric([]string{"__name__", "le"}, `envoy_cluster_upstream_rq_time_bucket;([36]0000|[36]00000|1800000|3600000)(\.0)?`),
		},
	}
}

// services are asked through the agents of their proxies, which merge the metrics of
// a service into their own: with mutual TLS its own port is not open to Prometheus.
// Of the proxy's statistics the filter leaves none.
func (m monitoring) services() job {
	return job{
		Name: "services", Path: statsPath, Interval: duration(slow), Timeout: duration(usualInterval),
		Params: map[string][]string{"filter": {"^$"}},
		// What the agent adds is in this one, whatever it says of the whole.
		Formats: []string{"PrometheusText0.0.4"},
		Pods:    inNamespaces(string(m.system.Name)),
		Targets: append([]relabel{
			drop("__meta_kubernetes_pod_phase", "Succeeded|Failed"),
			// Each pod is found once for each port that it declares.
			keep("__meta_kubernetes_pod_container_port_number", envoyPort),
			{Source: []string{"__address__"}, Regex: `(.*):` + envoyPort, Target: "__address__", Replacement: "$1:" + agentPort},
			{Source: []string{"__meta_kubernetes_pod_label_rollouts_pod_template_hash"}, Target: "rollouts_pod_template_hash"},
		}, named()...),
		Metrics: []relabel{dropMetric([]string{"__name__"}, `(envoy|istio_agent|go|process|promhttp|otel|target)_.*`)},
	}
}

const (
	proxiesJob = "proxies"

	// Argo CD's own manifests name few of its ports.
	controllerPorts = istio.SystemNamespace + `;(http-)?monitoring;15014|` + argoCD + `;.*;(8082|8083|8084)|` + argoCD + `;metrics;8080|` + argoRollouts + `;metrics;8090`

	controllerMetrics = `pilot_(xds_pushes|xds_push_time_(sum|count)|xds|proxy_convergence_time_(sum|count)|proxy_convergence_time_bucket|total_xds_rejects)` +
		`|argocd_(app_info|app_sync_total|app_reconcile_(sum|count)|git_request_total|cluster_connection_status)` +
		`|(rollout_info|rollout_phase|rollout_info_replicas_(available|desired|unavailable)|analysis_run_info|analysis_run_metric_phase|controller_clientset_k8s_request_total)` +
		`|process_(cpu_seconds_total|resident_memory_bytes|start_time_seconds)`

	ownMetrics = `prometheus_tsdb_(head_series|head_samples_appended_total|storage_blocks_bytes)|prometheus_target_scrapes_exceeded_.*|prometheus_rule_evaluation_failures_total` +
		`|process_(cpu_seconds_total|resident_memory_bytes|start_time_seconds)`
)

// named gives a target the names that its pod has.
func named() []relabel {
	return []relabel{
		{Source: []string{"__meta_kubernetes_namespace"}, Target: "namespace"},
		{Source: []string{"__meta_kubernetes_pod_name"}, Target: "pod"},
	}
}

func inNamespaces(names ...string) []pods {
	p := pods{Role: "pod"}
	p.Namespaces.Names = names
	return []pods{p}
}

func keep(label, regex string) relabel {
	return keepOne([]string{label}, regex)
}

func keepOne(of []string, regex string) relabel {
	return relabel{Source: of, Regex: regex, Action: "keep"}
}

func drop(label, regex string) relabel {
	return dropMetric([]string{label}, regex)
}

func dropMetric(of []string, regex string) relabel {
	return relabel{Source: of, Regex: regex, Action: "drop"}
}

// duration writes it as Prometheus reads it, in whole seconds or milliseconds.
func duration(d time.Duration) string {
	if d%time.Second == 0 {
		return fmt.Sprintf("%ds", d/time.Second)
	}
	return fmt.Sprintf("%dms", d/time.Millisecond)
}
