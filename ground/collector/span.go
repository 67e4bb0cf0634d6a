package collector

import (
	"cmp"
	"encoding/hex"
	"math"
	"strings"
	"time"

	trace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
)

// A Span is what is kept of one: neither its attributes, which may be anything, nor
// its events and links.
type Span struct {
	Trace   string    `json:"trace"` // in hexadecimal, as are the two below
	ID      string    `json:"id"`
	Parent  string    `json:"parent,omitempty"`
	Name    string    `json:"name"`
	Kind    Kind      `json:"kind"`
	Service string    `json:"service,omitempty"` // that exported it, as it calls itself
	Pod     string    `json:"pod,omitempty"`
	Proxy   bool      `json:"proxy,omitempty"` // it is an Envoy's
	Store   string    `json:"store,omitempty"` // the kind of database that is waited for
	Start   time.Time `json:"start"`
	End     time.Time `json:"end"`
	Failed  bool      `json:"failed,omitempty"`
}

// Kind is whether a span is of who asks or of who is asked.
type Kind string

const (
	Server   Kind = "server"
	Client   Kind = "client"
	Internal Kind = "internal" // or none of the others
)

const mostText = 200 // bytes

func spansOf(export *trace.ExportTraceServiceRequest) []Span {
	var all []Span
	for _, resource := range export.GetResourceSpans() {
		who := resource.GetResource().GetAttributes()
		service, pod := attribute(who, "service.name"), attribute(who, "k8s.pod.name")
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				if len(s.GetTraceId()) != 16 || len(s.GetSpanId()) != 8 {
					continue // the specification has such a span ignored
				}
				all = append(all, Span{
					Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: parent(s.GetParentSpanId()),
					Name: bounded(s.GetName()), Kind: kinds[s.GetKind()],
					Service: service, Pod: cmp.Or(pod, podOf(attribute(s.GetAttributes(), "node_id"))),
					Proxy: attribute(s.GetAttributes(), "component") == "proxy",
					Store: cmp.Or(attribute(s.GetAttributes(), "db.system.name"), attribute(s.GetAttributes(), "db.system")),
					Start: instant(s.GetStartTimeUnixNano()), End: instant(s.GetEndTimeUnixNano()),
					Failed: s.GetStatus().GetCode() == spans.Status_STATUS_CODE_ERROR,
				})
			}
		}
	}
	for i := range all {
		all[i].Kind = cmp.Or(all[i].Kind, Internal)
	}
	return all
}

var kinds = map[spans.Span_SpanKind]Kind{spans.Span_SPAN_KIND_SERVER: Server, spans.Span_SPAN_KIND_CLIENT: Client}

func parent(id []byte) string {
	if len(id) != 8 {
		return ""
	}
	return hex.EncodeToString(id)
}

func instant(nanoseconds uint64) time.Time {
	return time.Unix(0, int64(min(nanoseconds, math.MaxInt64))).UTC()
}

func attribute(list []*common.KeyValue, name string) string {
	for _, a := range list {
		if a.GetKey() == name {
			return bounded(a.GetValue().GetStringValue())
		}
	}
	return ""
}

// podOf reads what Istio's proxies call themselves:
// sidecar~10.100.0.5~vehicle-x.fleet~fleet.svc.cluster.local.
func podOf(node string) string {
	part := strings.Split(node, "~")
	if len(part) != 4 {
		return ""
	}
	return part[2][:max(strings.LastIndexByte(part[2], '.'), 0)]
}

func bounded(text string) string {
	if len(text) > mostText {
		text = text[:mostText]
	}
	return strings.ToValidUTF8(text, "?")
}
