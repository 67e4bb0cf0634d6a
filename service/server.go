package service

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
)

// handler is everything around the routes that every request passes, known or
// not. Inside out: the mux, panics, traces and metrics, identity.
func (s *Service) handler() http.Handler {
	observed := otelhttp.NewHandler(http.HandlerFunc(s.serve), "",
		otelhttp.WithTracerProvider(s.telemetry.traces),
		otelhttp.WithMeterProvider(s.telemetry.metrics),
		otelhttp.WithPropagators(s.telemetry.propagator))
	headers := s.identity.headers()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.inFlight.Add(1)
		defer s.leave()
		ex := &exchange{requestID: requestID(r.Header), writer: w, began: time.Now()}
		header := w.Header()
		for name, values := range headers {
			header[name] = values
		}
		header[requestIDHeader] = []string{ex.requestID}
		if s.isDraining() {
			// HTTP/1.1 closes the connection after this answer; for HTTP/2 net/http
			// turns it into GOAWAY and finishes the streams that are open.
			header["Connection"] = []string{"close"}
		}
		observed.ServeHTTP(w, r.WithContext(withExchange(r.Context(), ex)))
	})
}

func (s *Service) leave() {
	if s.inFlight.Add(-1) == 0 {
		select {
		case s.idle <- struct{}{}:
		default:
		}
	}
}

// serve runs the mux and logs what became of the request.
func (s *Service) serve(w http.ResponseWriter, r *http.Request) {
	ex := exchangeOf(r.Context())
	w = ex.watch(w)
	defer func() {
		p := recover()
		switch {
		case p == nil:
		case p == http.ErrAbortHandler:
			panic(p)
		default:
			s.panicked(w, r, ex, p)
		}
		s.logRequest(r, ex)
	}()
	s.mux.ServeHTTP(w, r)
}

func (s *Service) panicked(w http.ResponseWriter, r *http.Request, ex *exchange, p any) {
	s.telemetry.panics.Add(r.Context(), 1)
	s.log.ErrorContext(r.Context(), "panic", "panic", fmt.Sprint(p), "method", r.Method, "route", r.Pattern, "stack", stack())
	if ex.status != 0 {
		// Half an answer must not look like a whole one.
		panic(http.ErrAbortHandler)
	}
	WriteError(w, r, fmt.Errorf("panic: %v", p))
}

func (s *Service) logRequest(r *http.Request, ex *exchange) {
	level := slog.LevelDebug
	// A line for each request that is shed would make an overload worse; there is
	// a counter for them.
	if ex.status >= http.StatusInternalServerError && !ex.shed {
		level = slog.LevelWarn
	}
	if !s.log.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", r.Method), slog.String("route", r.Pattern), slog.Int("status", max(ex.status, http.StatusOK)),
		slog.Duration("took", time.Since(ex.began)),
	}
	if ex.err != nil {
		attrs = append(attrs, slog.String("error", ex.err.Error()))
	}
	s.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// newServer bounds everything a peer can do. Routes tighten the two timeouts of
// whole requests; those here must be set for net/http to reset them each time.
func (s *Service) newServer(handler http.Handler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           handler,
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 250, SendPingTimeout: 30 * time.Second, PingTimeout: 10 * time.Second},
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       60 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       s.settings.IdleTimeout,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
}

func pprofHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

func listen(given net.Listener, addr, variable string) (net.Listener, error) {
	if given != nil {
		return given, nil
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w; set %s to a free address", err, variable)
	}
	return listener, nil
}
