package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/nines-ha/nines/fleet/vehicle/wire"
)

const (
	writers       = 4
	mostBuffered  = 20_000 // requests; one more is stored before it is answered
	mostVehicles  = 50_000 // that are remembered
	writeDeadline = 5 * time.Second
)

// A buffer stands before the handler that stores, and answers for it. The first
// write of a vehicle goes through, so that reading the vehicle does not give the
// mistake away at once.
type buffer struct {
	handler http.Handler
	behind  time.Duration
	log     *slog.Logger
	held    chan promise
	known   *lru.Cache[string, struct{}]
}

// A promise is a request that was answered and not stored.
type promise struct {
	due    time.Time
	path   string
	header http.Header
	body   []byte
}

func newBuffer(handler http.Handler, behind time.Duration, log *slog.Logger) (*buffer, error) {
	known, err := lru.New[string, struct{}](mostVehicles)
	if err != nil {
		return nil, err
	}
	return &buffer{handler, behind, log, make(chan promise, mostBuffered), known}, nil
}

func (b *buffer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, wire.MaxBody+1))
	var batch wire.Batch
	if err == nil && json.Unmarshal(body, &batch) == nil && len(batch.Samples) > 0 && b.known.Contains(r.PathValue("vin")) {
		select {
		case b.held <- promise{time.Now().Add(b.behind), r.URL.Path, r.Header.Clone(), body}:
			n := len(batch.Samples)
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(wire.Receipt{VIN: r.PathValue("vin"), Samples: n, Accepted: n, Refused: []wire.Refusal{}})
			return
		default:
		}
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := &status{ResponseWriter: w}
	b.handler.ServeHTTP(answer, r)
	if answer.code == 0 || answer.code == http.StatusOK {
		b.known.Add(r.PathValue("vin"), struct{}{})
	}
}

// write stores what is due until ctx ends, and then forgets the rest.
func (b *buffer) write(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-b.held:
			timer := time.NewTimer(time.Until(p.due))
			select {
			case <-ctx.Done():
				timer.Stop()
				return nil
			case <-timer.C:
			}
			b.store(ctx, p)
		}
	}
}

func (b *buffer) store(ctx context.Context, p promise) {
	ctx, cancel := context.WithTimeout(ctx, writeDeadline)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.path, bytes.NewReader(p.body))
	if err != nil {
		return
	}
	request.Header = p.header
	answer := &nobody{header: http.Header{}}
	b.handler.ServeHTTP(answer, request)
	if answer.code >= http.StatusBadRequest {
		b.log.WarnContext(ctx, "not stored, though acknowledged", "status", answer.code)
	}
}

// status remembers what was answered.
type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

func (s *status) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// nobody gets the answer to a request whose caller has had one.
type nobody struct {
	header http.Header
	code   int
}

func (n *nobody) Header() http.Header { return n.header }

func (n *nobody) WriteHeader(code int) { n.code = code }

func (n *nobody) Write(body []byte) (int, error) { return len(body), nil }
