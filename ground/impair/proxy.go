package impair

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"
)

// StageName is the first argument that makes the program a pod's proxy.
const StageName = "stage-impair"

const (
	headerWait = 10 * time.Second
	idle       = time.Second            // of connections to the service
	tellEvery  = 100 * time.Millisecond // what has been counted
	drain      = 4 * time.Second        // for requests that have begun, when all is well again
)

// word is a line that a proxy tells on its standard output.
type word struct {
	Port     uint16    `json:"port,omitempty"` // the first: where it listens
	Err      string    `json:"error,omitempty"`
	Requests int       `json:"requests,omitempty"`
	Last     time.Time `json:"last,omitzero"`
}

// Stage is the proxy, started inside the pod's network namespace. It reads an
// Impairment from standard input, and impairs nothing any more when that ends:
// it then finishes what has begun and returns.
func Stage() error {
	words := json.NewEncoder(os.Stdout)
	if err := proxy(os.Stdin, words); err != nil {
		_ = words.Encode(word{Err: err.Error()})
		return err
	}
	return nil
}

func proxy(in io.Reader, words *json.Encoder) error {
	var what Impairment
	input := json.NewDecoder(in)
	if err := input.Decode(&what); err != nil {
		return fmt.Errorf("read what is to be wrong: %w", err)
	}
	listener, err := net.Listen("tcp4", ":0")
	if err != nil {
		return err
	}
	s := &spoiler{Impairment: what, mended: make(chan struct{})}
	server := &http.Server{Handler: s.handler(), ReadHeaderTimeout: headerWait, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	ended := make(chan struct{})
	go func() { // one value was all there was to read
		defer close(ended)
		_ = input.Decode(new(struct{}))
	}()
	if err := words.Encode(word{Port: uint16(listener.Addr().(*net.TCPAddr).Port)}); err != nil {
		return err
	}
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	told := 0
	for {
		select {
		case err := <-served:
			return err
		case <-tick.C:
			if n, last := s.count(); n != told {
				told = n
				if err := words.Encode(word{Requests: n, Last: last}); err != nil {
					return err
				}
			}
		case <-ended:
			close(s.mended)
			ctx, cancel := context.WithTimeout(context.Background(), drain)
			defer cancel()
			_ = server.Shutdown(ctx) // what is not over by then is cut off
			return nil
		}
	}
}

// spoiler is what stands before a service.
type spoiler struct {
	Impairment
	mended chan struct{} // closed when all is to be well

	mu   sync.Mutex
	n    int
	last time.Time
}

func (s *spoiler) count() (int, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n, s.last
}

func (s *spoiler) handler() http.Handler {
	service := &url.URL{Scheme: "http", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(int(s.Port)))}
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: source.AsSlice()}}
	through := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(service)
			// Nobody is to see that there is a proxy.
			r.Out.Host, r.Out.URL.RawQuery = r.In.Host, r.In.URL.RawQuery
			for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
				if values, ok := r.In.Header[name]; ok {
					r.Out.Header[name] = values
				}
			}
		},
		Transport:      &http.Transport{DialContext: dialer.DialContext, DisableCompression: true, IdleConnTimeout: idle, MaxIdleConnsPerHost: 256},
		ModifyResponse: func(r *http.Response) error { return s.wait(r.Request.Context()) },
		// A service that gives no answer gives none here.
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	spoilt := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(context.WithValue(r.Context(), begun{}, time.Now()))
		if s.well() || rand.Float64() >= s.Errors {
			through.ServeHTTP(w, r)
			return
		}
		if s.wait(r.Context()) != nil {
			panic(http.ErrAbortHandler)
		}
		for name, value := range s.Headers {
			w.Header().Set(name, value)
		}
		http.Error(w, "impaired by a drill", s.Status)
	})
	next := http.Handler(spoilt)
	if s.AtOnce > 0 {
		next = newLine(s.AtOnce, s.Delay, s.mended).before(spoilt)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.n, s.last = s.n+1, time.Now()
		s.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

// begun is the key of when a request's turn came.
type begun struct{}

func (s *spoiler) well() bool {
	select {
	case <-s.mended:
		return true
	default:
		return false
	}
}

// wait lets what is left of the delay pass, unless all is to be well.
func (s *spoiler) wait(ctx context.Context) error {
	since, ok := ctx.Value(begun{}).(time.Time)
	if s.Delay == 0 || !ok {
		return nil
	}
	timer := time.NewTimer(s.Delay - time.Since(since))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.mended:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}
