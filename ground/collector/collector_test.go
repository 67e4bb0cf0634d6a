package collector

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	trace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/nines-ha/nines/ground/manifest"
)

func text(name, value string) *common.KeyValue {
	return &common.KeyValue{Key: name, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: value}}}
}

func export(who []*common.KeyValue, list ...*spans.Span) []byte {
	body, err := proto.Marshal(&trace.ExportTraceServiceRequest{ResourceSpans: []*spans.ResourceSpans{{
		Resource:   &resource.Resource{Attributes: who},
		ScopeSpans: []*spans.ScopeSpans{{Spans: list}},
	}}})
	if err != nil {
		panic(err)
	}
	return body
}

func span(n int, attributes ...*common.KeyValue) *spans.Span {
	return &spans.Span{
		TraceId: bytes.Repeat([]byte{0xab}, 16), SpanId: []byte(fmt.Sprintf("%08d", n)), ParentSpanId: []byte("parent!!"),
		Name: "GET", Kind: spans.Span_SPAN_KIND_SERVER, Attributes: attributes,
		StartTimeUnixNano: uint64(time.Second), EndTimeUnixNano: uint64(3 * time.Second),
	}
}

func post(c http.Handler, body []byte, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/v1/traces", bytes.NewReader(body))
	r.Header.Set("Content-Type", protobuf)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	return w
}

func TestWhatIsKept(t *testing.T) {
	c := New(10)
	ofProxy := span(1, text("component", "proxy"), text("node_id", "sidecar~10.100.0.5~vehicle-x.fleet~fleet.svc.cluster.local"))
	ofStore := span(2, text("db.system.name", "postgresql"))
	ofStore.Kind, ofStore.ParentSpanId = spans.Span_SPAN_KIND_CLIENT, nil
	ofStore.Status = &spans.Status{Code: spans.Status_STATUS_CODE_ERROR}
	nobodys := span(3)
	nobodys.TraceId = nil
	plain := span(4)
	plain.Kind, plain.Name = spans.Span_SPAN_KIND_INTERNAL, strings.Repeat("n", 1000)
	who := []*common.KeyValue{text("service.name", "vehicle"), text("k8s.pod.name", "vehicle-y")}
	if w := post(c, export(nil, ofProxy)); w.Code != http.StatusOK || w.Header().Get("Content-Type") != protobuf {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(export(who, ofStore, nobodys, plain))
	z.Close()
	if w := post(c, packed.Bytes(), "Content-Encoding", "gzip"); w.Code != http.StatusOK {
		t.Errorf("packed: %d %s", w.Code, w.Body)
	}
	id := strings.Repeat("ab", 16)
	start, end := time.Unix(1, 0).UTC(), time.Unix(3, 0).UTC()
	const parent = "706172656e742121"
	want := Batch{Last: 3, Spans: []Span{
		{Trace: id, ID: "3030303030303031", Parent: parent, Name: "GET", Kind: Server, Pod: "vehicle-x", Proxy: true, Start: start, End: end},
		{Trace: id, ID: "3030303030303032", Name: "GET", Kind: Client, Service: "vehicle", Pod: "vehicle-y", Store: "postgresql", Start: start, End: end, Failed: true},
		{Trace: id, ID: "3030303030303034", Parent: parent, Name: strings.Repeat("n", mostText), Kind: Internal, Service: "vehicle", Pod: "vehicle-y", Start: start, End: end},
	}}
	if diff := cmp.Diff(want, c.After(0)); diff != "" {
		t.Error(diff)
	}
}

// The newest stay, who reads misses none that is kept, and is told of the others.
func TestRing(t *testing.T) {
	c := New(mostAnswer + 10)
	tell := func(n int) {
		for range n {
			post(c, export(nil, span(int(c.Told())+1)))
		}
	}
	number := func(s Span) string { return s.ID }
	tell(3)
	first := c.After(1)
	if len(first.Spans) != 2 || first.Last != 3 || first.Lost != 0 || number(first.Spans[0]) != "3030303030303032" {
		t.Errorf("%+v", first)
	}
	if again := c.After(first.Last); len(again.Spans) != 0 || again.Last != 3 {
		t.Errorf("nothing new: %+v", again)
	}
	c.keep(make([]Span, len(c.ring)))
	b := c.After(2)
	if len(b.Spans) != mostAnswer || b.Lost != 1 || b.Last != 3+mostAnswer {
		t.Errorf("%d spans to %d, %d lost", len(b.Spans), b.Last, b.Lost)
	}
	if rest := c.After(b.Last); len(rest.Spans) != 10 || rest.Lost != 0 || rest.Last != c.Told() {
		t.Errorf("%d spans to %d, %d lost", len(rest.Spans), rest.Last, rest.Lost)
	}
	if beyond := c.After(1 << 60); len(beyond.Spans) != 0 || beyond.Last != c.Told() {
		t.Errorf("beyond the newest: %+v", beyond)
	}
}

func TestRefused(t *testing.T) {
	c := New(10)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, mostBody+1))
	z.Close()
	for name, one := range map[string]struct {
		body    []byte
		headers []string
		want    int
	}{
		"not protobuf":   {body: []byte("\xff\xff\xff"), want: http.StatusBadRequest},
		"JSON":           {body: []byte("{}"), headers: []string{"Content-Type", "application/json"}, want: http.StatusUnsupportedMediaType},
		"too long":       {body: make([]byte, mostBody+1), want: http.StatusRequestEntityTooLarge},
		"too long, gzip": {body: bomb.Bytes(), headers: []string{"Content-Encoding", "gzip"}, want: http.StatusRequestEntityTooLarge},
		"not gzip":       {body: []byte("no"), headers: []string{"Content-Encoding", "gzip"}, want: http.StatusBadRequest},
		"zstd":           {headers: []string{"Content-Encoding", "zstd"}, want: http.StatusUnsupportedMediaType},
	} {
		if w := post(c, one.body, one.headers...); w.Code != one.want {
			t.Errorf("%s: %d, want %d: %s", name, w.Code, one.want, w.Body)
		}
	}
	if c.Told() != 0 {
		t.Errorf("%d spans are kept of what was refused", c.Told())
	}
	for range mostAtOnce {
		c.slots <- struct{}{}
	}
	if w := post(c, export(nil, span(1))); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("when busy: %d", w.Code)
	}
}

func TestManifests(t *testing.T) {
	objects, err := manifest.Decode("collector", Manifests(netip.MustParseAddr("10.10.240.1")))
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, o := range objects {
		kinds = append(kinds, o.GetKind()+" "+o.GetName())
	}
	if diff := cmp.Diff([]string{"Namespace observability", "Service opentelemetry-collector", "EndpointSlice opentelemetry-collector"}, kinds); diff != "" {
		t.Error(diff)
	}
}
