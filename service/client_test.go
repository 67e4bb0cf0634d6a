package service_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nines-ha/nines/service"
	"github.com/nines-ha/nines/service/servicetest"
)

// relay is a service that answers with the answer of another.
func relay(url string, options ...service.RouteOption) func(context.Context, *service.Service) error {
	return func(_ context.Context, s *service.Service) error {
		s.Handle("/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, url, nil)
			if err != nil {
				service.WriteError(w, r, err)
				return
			}
			answer, err := s.Client().Do(request)
			if err != nil {
				service.WriteError(w, r, err)
				return
			}
			defer answer.Body.Close()
			io.Copy(w, answer.Body)
		}), options...)
		return nil
	}
}

func TestClientPassesOn(t *testing.T) {
	t.Parallel()
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", r.Header.Get("X-Envoy-Expected-Rq-Timeout-Ms"), r.Header.Get("X-Request-Id"), r.Header.Get("Traceparent"))
	}))
	defer upstream.Close()
	server := servicetest.Start(t, nil, relay(upstream.URL, service.Timeout(40*time.Second)))
	_, body := get(t, client(t, false), server.URL,
		"X-Request-Id", "request-7", "Traceparent", "00-"+trace+"-00f067aa0ba902b7-01", "X-Envoy-Expected-Rq-Timeout-Ms", "9000")
	var left int
	var id, parent string
	if _, err := fmt.Sscan(body, &left, &id, &parent); err != nil {
		t.Fatalf("%v in %q", err, body)
	}
	if left < 1 || left > 9000 {
		t.Errorf("%d ms left of 9000", left)
	}
	if id != "request-7" || parent != "00-"+trace+"-00f067aa0ba902b7-01" {
		t.Errorf("passed on %q and %q", id, parent)
	}
}

func TestClientEndsWithTheRequest(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer upstream.Close()
	defer close(release)
	server := servicetest.Start(t, nil, relay(upstream.URL, service.Timeout(20*time.Millisecond)))
	if answer, _ := get(t, client(t, false), server.URL); answer.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("got %s", answer.Status)
	}
}

func TestClientWithoutDeadlineHasOne(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if ms, err := strconv.Atoi(r.Header.Get("X-Envoy-Expected-Rq-Timeout-Ms")); err != nil || ms > 50 {
			t.Errorf("%d ms, %v", ms, err)
		}
		<-release
	}))
	defer upstream.Close()
	defer close(release)
	servicetest.Start(t, map[string]string{"CLIENT_TIMEOUT": "50ms"}, func(_ context.Context, s *service.Service) error {
		_, err := s.Client().Get(upstream.URL)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		return nil
	})
}

func TestClientMakesNoCallTooLate(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("called") }))
	defer upstream.Close()
	servicetest.Start(t, nil, func(ctx context.Context, s *service.Service) error {
		ctx, cancel := context.WithTimeout(ctx, time.Microsecond)
		defer cancel()
		<-ctx.Done()
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, upstream.URL, strings.NewReader("body"))
		if err != nil {
			return err
		}
		if _, err := s.Client().Do(request); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		return nil
	})
}

// With the default pool of two, 32 callers at once would open connections all
// the time.
func TestClientKeepsConnections(t *testing.T) {
	t.Parallel()
	const callers, rounds = 32, 20
	var mu sync.Mutex
	opened := 0
	upstream := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }))
	upstream.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			mu.Lock()
			defer mu.Unlock()
			opened++
		}
	}
	upstream.Start()
	defer upstream.Close()
	servicetest.Start(t, nil, func(_ context.Context, s *service.Service) error {
		var group sync.WaitGroup
		for range rounds {
			for range callers {
				group.Go(func() {
					answer, err := s.Client().Get(upstream.URL)
					if err != nil {
						t.Error(err)
						return
					}
					defer answer.Body.Close()
					io.Copy(io.Discard, answer.Body)
				})
			}
			group.Wait()
		}
		return nil
	})
	mu.Lock()
	defer mu.Unlock()
	if opened > 3*callers {
		t.Errorf("%d connections for %d callers", opened, callers)
	}
}
