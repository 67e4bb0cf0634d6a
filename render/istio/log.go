package istio

// logProvider names the log of which LogLabels are the fields.
const logProvider = "nines-log"

// logLabels are the fields of a line of the access log, one JSON object, and
// what Envoy fills them with. A value that there is none of is null. The path is
// left out: it names vehicles, and its query places.
var logLabels = map[string]string{
	"at":       "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%", // UTC
	"ms":       "%DURATION%",
	"status":   "%RESPONSE_CODE%",
	"flags":    "%RESPONSE_FLAGS%",
	"details":  "%RESPONSE_CODE_DETAILS%",
	"id":       "%REQ(X-REQUEST-ID)%",
	"trace":    "%REQ(TRACEPARENT)%",
	"method":   "%REQ(:METHOD)%",
	"route":    "%ROUTE_NAME%",
	"upstream": "%UPSTREAM_HOST%",
	"cluster":  "%UPSTREAM_CLUSTER%",
	"attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
	"failure":  "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
	"peer":     "%DOWNSTREAM_PEER_URI_SAN%",
	"from":     "%DOWNSTREAM_REMOTE_ADDRESS%",
	"to":       "%DOWNSTREAM_LOCAL_ADDRESS%",
	"bytesIn":  "%BYTES_RECEIVED%",
	"bytesOut": "%BYTES_SENT%",
}

// logFilter keeps each failure, each request that was slow, and of the rest one
// in 256. That one is chosen by the end of the request's id, which all proxies
// on its way see, so that all of them keep it or none. A connection has no
// code and no id; the other conditions still hold for it.
const logFilter = `response.code >= 400 || response.code == 0 || response.flags != 0 || ` +
	`request.duration > duration("250ms") || request.id.endsWith("00")`

// statistics are what proxies keep besides what Istio keeps anyway: of the
// clusters that services are, how requests, retries and connections went, what
// was refused by a limit, who was taken out, and the handshakes; and of what is
// refused without a line in the log, how often.
var statistics = []string{
	`^cluster\.(outbound|inbound)\|.*\.upstream_rq_(total|active|pending_(active|overflow|failure_eject)|timeout|per_try_timeout|tx_reset|rx_reset|[1-5]xx|50[234]|retry|retry_(success|overflow|limit_exceeded))$`,
	`^cluster\.(outbound|inbound)\|.*\.upstream_cx_(total|active|overflow|connect_fail|connect_timeout|destroy_(local|remote)_with_active_rq)$`,
	`^cluster\.outbound\|.*\.outlier_detection\.ejections_(active|overflow|enforced_total)$`,
	`^cluster\.outbound\|.*\.(membership_(healthy|total)|lb_(zone_routing_cross_zone|healthy_panic|local_cluster_not_ok))$`,
	`^cluster\.outbound\|.*\.circuit_breakers\.default\.(cx|cx_pool|rq|rq_pending|rq_retry)_open$`,
	`^cluster\.outbound\|.*\.ssl\.(handshake|connection_error|fail_verify_(error|san|cert_hash|no_cert))$`,
	`^listener\..*\.ssl\.(handshake|connection_error|fail_verify_(error|san|cert_hash|no_cert))$`,
	`^(tcp|cluster)\.BlackHoleCluster;?\.(downstream_cx_total|upstream_cx_none_healthy)$`,
}
