package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/caarlos0/env/v11"
	"go.opentelemetry.io/otel"
)

// A Runner runs a service inside a process that has a main of its own, such as
// a test. The zero value of each field means what Main does.
type Runner struct {
	Name        string
	Environment map[string]string // os.Environ; OTEL_ variables always come from there
	HTTP, Admin net.Listener      // HTTP_ADDR, ADMIN_ADDR; closed when Run returns
	Log         io.Writer         // os.Stdout

	whole bool // the process is ours alone, so what is global may be set
}

// Run does what Main does, with the end of ctx in place of the signal, and
// returns nil where Main exits with 0. It sets nothing outside itself, so
// several may run side by side.
func (r Runner) Run(ctx context.Context, setup func(context.Context, *Service) error) error {
	if r.Environment == nil {
		r.Environment = env.ToMap(os.Environ())
	}
	if r.Log == nil {
		r.Log = os.Stdout
	}
	p, err := newProcess(ctx, r)
	if err != nil {
		closeListeners(r.HTTP, r.Admin)
		slog.New(slog.NewJSONHandler(r.Log, nil)).Error("not started", "service", r.Name, "error", err)
		return fmt.Errorf("start %s: %w", r.Name, err)
	}
	err = p.run(ctx, setup)
	if err != nil {
		p.log.Error("stopped", "error", err)
		return fmt.Errorf("run %s: %w", r.Name, err)
	}
	p.log.Info("stopped")
	return nil
}

// A process is a Service with what runs it.
type process struct {
	*Service
	given     [2]net.Listener
	server    *http.Server
	admin     []*http.Server // outlive server, so that probes have an answer to the end
	transport *http.Transport
	end       context.CancelFunc // of alive
	broken    chan error         // a listener that failed
}

func newProcess(ctx context.Context, r Runner) (*process, error) {
	set, err := readSettings(r.Environment)
	if err != nil {
		return nil, err
	}
	id, err := readIdentity(r.Name, r.Environment)
	if err != nil {
		return nil, err
	}
	s := &Service{
		settings: set, identity: id, environment: r.Environment,
		log: newLogger(r.Log, set.LogLevel, id), mux: http.NewServeMux(),
		draining: make(chan struct{}), idle: make(chan struct{}, 1), failures: make(chan error, 1),
	}
	p := &process{Service: s, given: [2]net.Listener{r.HTTP, r.Admin}, broken: make(chan error, 3)}
	if s.telemetry, err = newTelemetry(ctx, id); err != nil {
		return nil, err
	}
	if r.whole {
		otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { s.log.Warn("telemetry", "error", err) }))
	}
	if err := s.telemetry.observe(s.inFlight.Load, func() int64 {
		if s.isDraining() {
			return 1
		}
		return 0
	}); err != nil {
		return nil, fmt.Errorf("start metrics: %w", err)
	}
	p.transport = s.newTransport()
	s.client = s.newClient(p.transport)
	// It ends after the requests do, whatever became of ctx.
	s.alive, p.end = context.WithCancel(context.WithoutCancel(ctx))
	p.server = s.newServer(s.handler())
	return p, nil
}

func (p *process) run(ctx context.Context, setup func(context.Context, *Service) error) error {
	defer closeListeners(p.given[:]...)
	defer p.end()
	failure := p.start(ctx, setup)
	if failure == nil {
		p.log.Info("serving", "routes", p.routes)
		select {
		case <-ctx.Done():
		case failure = <-p.broken:
		case failure = <-p.failures:
		}
	}
	if ctx.Err() != nil && !p.started.Load() && !errors.Is(failure, errStuck) {
		p.log.Info("asked to stop before setup was done", "error", failure)
		failure = nil
	}
	unclean := p.stop(failure == nil && p.started.Load())
	if failure != nil {
		return errors.Join(failure, unclean)
	}
	if unclean != nil {
		return fmt.Errorf("%w: %w", ErrUnclean, unclean)
	}
	return nil
}

// start opens the admin listener, runs setup, and opens the service.
func (p *process) start(ctx context.Context, setup func(context.Context, *Service) error) error {
	admin := p.newServer(p.adminHandler())
	admin.MaxHeaderBytes = 8 << 10
	if err := p.open(admin, p.given[1], p.settings.AdminAddr, "ADMIN_ADDR"); err != nil {
		return err
	}
	p.admin = append(p.admin, admin)
	if p.settings.PprofAddr != "" {
		profiles := p.newServer(pprofHandler())
		profiles.WriteTimeout = 5 * time.Minute
		if err := p.open(profiles, nil, p.settings.PprofAddr, "PPROF_ADDR"); err != nil {
			return err
		}
		p.admin = append(p.admin, profiles)
	}
	if err := p.setup(ctx, setup); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	p.Go("connections", func(ctx context.Context) error { return renewConnections(ctx, p.transport) })
	if len(p.reloaders) > 0 {
		p.Go("configuration", p.watchConfig)
	}
	if err := p.open(p.server, p.given[0], p.settings.HTTPAddr, "HTTP_ADDR"); err != nil {
		return err
	}
	p.started.Store(true)
	return nil
}

var errStuck = errors.New("setup did not end when its context did")

// setup gives up on a setup function that does not end when it is told to.
func (p *process) setup(ctx context.Context, setup func(context.Context, *Service) error) error {
	// Until setup returns its context ends with ctx, and afterwards with alive.
	unlink := context.AfterFunc(ctx, p.end)
	done := make(chan error, 1)
	go func() {
		done <- p.guard(func() error { return setup(p.alive, p.Service) })
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		select {
		case err = <-done:
		case <-time.After(p.settings.ShutdownTimeout):
			return errStuck
		}
	}
	unlink()
	if err != nil {
		return fmt.Errorf("setup: %w", err)
	}
	return nil
}

func (p *process) open(server *http.Server, given net.Listener, addr, variable string) error {
	listener, err := listen(given, addr, variable)
	if err != nil {
		return err
	}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			p.broken <- fmt.Errorf("serve %s: %w", listener.Addr(), err)
		}
	}()
	return nil
}

func closeListeners(listeners ...net.Listener) {
	for _, l := range listeners {
		if l != nil {
			_ = l.Close()
		}
	}
}
