// Package service makes a Go microservice behave: it starts in order, says
// when it is ready, keeps every request inside a deadline and a limit, and
// stops without dropping an answer.
//
// Call [Main] first. It runs one setup function, which reads configuration
// with [Service.Config], registers handlers with [Service.Handle], and says
// how to close what it opened with [Service.OnStop]. When setup returns nil the
// service listens; when SIGTERM arrives it drains:
//
//	start    admin listener up, /livez answers, setup runs
//	serve    setup returned nil: listener up, /startupz and /readyz answer 200
//	signal   /readyz answers 503; requests are still served, and each answer
//	         asks its connection to close (HTTP/1.1 Connection: close, HTTP/2 GOAWAY)
//	drain    DRAIN_DELAY later the listener closes and running requests finish
//	         (in three quarters of SHUTDOWN_TIMEOUT; the rest is for the next step)
//	stop     functions of [Service.Go] are cancelled, then OnStop hooks run,
//	         last registered first, then traces are flushed
//	exit     0 clean, 1 something was cut off, 2 could not start or serve
//
// A second signal at any point exits at once with 128 plus its number.
//
// The environment sets what a deployment may change:
//
//	HTTP_ADDR         :8080   the service
//	ADMIN_ADDR        :8081   /livez /readyz /startupz /metrics
//	PPROF_ADDR                off unless set; use 127.0.0.1:6060
//	DRAIN_DELAY       5s      0s when a preStop sleep does the waiting
//	SHUTDOWN_TIMEOUT  20s     from the end of the delay to the exit
//	IDLE_TIMEOUT      75s     keep it above the idle timeout of the caller
//	CLIENT_TIMEOUT    10s     outbound calls that have no deadline of their own
//	LOG_LEVEL         info    debug, info, warn or error
//	CONFIG_DIR        /var/run/config
//	STORES_DIR        /var/run/stores
//
// POD_NAME, POD_NAMESPACE, POD_IP, NODE_NAME, ZONE, REGION, SERVICE_NAME and
// SERVICE_VERSION identify the process in answers, logs, metrics and traces.
// Traces are exported when OTEL_EXPORTER_OTLP_ENDPOINT or
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set; without it the caller's trace
// context passes through untouched.
//
// The package retries nothing (retries belong to one layer, usually the mesh),
// terminates no TLS, and knows neither databases nor Kubernetes.
package service
