// Package collector stands for the OpenTelemetry Collector that takes the traces of
// a cluster: it receives OTLP over HTTP and keeps the newest spans, each with what
// tells where it belongs, for whoever reads them After a number. Make one with New,
// serve it at Port, and apply Manifests to the cluster, so that pods find it under
// the name that a real one has on AKS. It samples nothing, forwards nothing, takes
// neither logs nor metrics, and has no TLS: what it is told stays in the ground.
package collector

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	trace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Where a collector is in a cluster, and the port of OTLP over HTTP.
const (
	Namespace = "observability"
	Service   = "opentelemetry-collector"
	Port      = 4318
)

// Bounds of what is kept and taken.
const (
	Most       = 100_000 // spans that are kept
	mostAnswer = 5_000   // spans in one answer
	mostBody   = 4 << 20 // bytes of an export
	mostAtOnce = 8       // exports; the rest is asked to come back
)

// A Collector is an http.Handler for POST /v1/traces. Its methods may be called from
// several goroutines.
type Collector struct {
	mux   *http.ServeMux
	slots chan struct{}

	mu   sync.Mutex
	ring []Span
	told uint64 // spans so far; the newest has this number
}

// New keeps so many spans at most.
func New(most int) *Collector {
	c := &Collector{mux: http.NewServeMux(), slots: make(chan struct{}, mostAtOnce), ring: make([]Span, most)}
	c.mux.HandleFunc("POST /v1/traces", c.receive)
	return c
}

func (c *Collector) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.mux.ServeHTTP(w, r) }

func (c *Collector) receive(w http.ResponseWriter, r *http.Request) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many exports at once", http.StatusServiceUnavailable)
		return
	}
	var export trace.ExportTraceServiceRequest
	if status, err := read(w, r, &export); err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	c.keep(spansOf(&export))
	answer, err := proto.Marshal(&trace.ExportTraceServiceResponse{})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", protobuf)
	_, _ = w.Write(answer)
}

const protobuf = "application/x-protobuf"

// read gives the status of what is wrong with an export.
func read(w http.ResponseWriter, r *http.Request, into proto.Message) (int, error) {
	if kind := r.Header.Get("Content-Type"); kind != protobuf {
		return http.StatusUnsupportedMediaType, fmt.Errorf("content type %q: this takes %s", kind, protobuf)
	}
	var body io.Reader = http.MaxBytesReader(w, r.Body, mostBody)
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "":
	case "gzip":
		unpacked, err := gzip.NewReader(body)
		if err != nil {
			return http.StatusBadRequest, err
		}
		body = unpacked
	default:
		return http.StatusUnsupportedMediaType, fmt.Errorf("content encoding %q: this takes gzip or none", encoding)
	}
	text, err := io.ReadAll(io.LimitReader(body, mostBody+1))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long) || len(text) > mostBody:
		return http.StatusRequestEntityTooLarge, fmt.Errorf("an export of more than %d bytes", mostBody)
	case err != nil:
		return http.StatusBadRequest, err
	}
	return http.StatusBadRequest, proto.Unmarshal(text, into)
}

func (c *Collector) keep(spans []Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range spans {
		c.ring[c.told%uint64(len(c.ring))] = s
		c.told++
	}
}

// A Batch is the spans after some number, the oldest first.
type Batch struct {
	Spans []Span `json:"spans"`
	Last  uint64 `json:"last"` // number of the last of them, to ask for those after it
	Lost  uint64 `json:"lost"` // that came after that number, and are kept no more
}

// After gives the spans after number n, of which the first has number 1; not
// necessarily all of them at once.
func (c *Collector) After(n uint64) Batch {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = min(n, c.told)
	b := Batch{Spans: []Span{}}
	if oldest := c.told - min(c.told, uint64(len(c.ring))); n < oldest {
		b.Lost, n = oldest-n, oldest
	}
	b.Last = min(c.told, n+mostAnswer)
	for ; n < b.Last; n++ {
		b.Spans = append(b.Spans, c.ring[n%uint64(len(c.ring))])
	}
	return b
}

// Told is the number of the newest span.
func (c *Collector) Told() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told
}
