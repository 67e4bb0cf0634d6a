package service

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// A Service is the running process, handed to the setup function. Handle,
// Readiness, OnStop, Go and OnReload are for setup; the rest may be called at
// any time and from any goroutine.
type Service struct {
	settings    settings
	identity    identity
	environment map[string]string
	log         *slog.Logger
	telemetry   *telemetry
	client      *http.Client
	mux         *http.ServeMux
	routes      int

	started  atomic.Bool // setup returned nil
	draining chan struct{}
	inFlight atomic.Int64
	idle     chan struct{} // poked whenever inFlight falls to zero

	background sync.WaitGroup
	failures   chan error // from background work, one is enough
	alive      context.Context

	mu        sync.Mutex
	hooks     []hook
	checks    []check
	reloaders []reloader
}

type hook struct {
	name string
	stop func(context.Context) error
}

// Log returns the service's logger: JSON lines on standard output. The methods
// that take a context add its request and trace ids.
func (s *Service) Log() *slog.Logger { return s.log }

// Client returns the client for outbound calls, one for the whole service. It
// passes on what is left of the caller's deadline, the trace and the request
// id; requests need a context for that. It never retries. Drain and close
// every body, or its connection is lost to the pool.
func (s *Service) Client() *http.Client { return s.client }

// Meter makes metrics of the service's own, exported at /metrics.
func (s *Service) Meter() metric.Meter { return s.telemetry.meter }

// Tracer makes spans of the service's own.
func (s *Service) Tracer() trace.Tracer { return s.telemetry.tracer }

// Store returns the store that nines.yaml calls name. It reads nothing yet.
func (s *Service) Store(name string) Store {
	return Store{name: name, dir: s.settings.StoresDir}
}

// Draining is closed when the service was told to stop. Handlers that answer
// for long (streams, long polls) end soon after it; others need not look.
func (s *Service) Draining() <-chan struct{} { return s.draining }

// OnStop registers what to do once the last request is answered and background
// work has ended. Hooks run in reverse order of registration, one at a time,
// also when setup fails. The context ends when SHUTDOWN_TIMEOUT is used up.
func (s *Service) OnStop(name string, stop func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks = append(s.hooks, hook{name, stop})
}

// Go runs background work until its context is cancelled, which happens after
// the last request is answered. An error or a panic stops the service.
func (s *Service) Go(name string, work func(context.Context) error) {
	s.background.Go(func() {
		err := s.guard(func() error { return work(s.alive) })
		if err == nil || s.alive.Err() != nil {
			return
		}
		select {
		case s.failures <- fmt.Errorf("%s: %w", name, err):
		default:
		}
	})
}

// guard turns a panic into an error and logs its stack.
func (s *Service) guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("panic", "panic", fmt.Sprint(p), "stack", stack())
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}

func (s *Service) isDraining() bool {
	select {
	case <-s.draining:
		return true
	default:
		return false
	}
}
