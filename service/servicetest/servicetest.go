// Package servicetest runs a service inside a test, on loopback, with everything
// that Main puts around it. Call [Start] first. It fakes nothing and judges
// nothing: it starts the service, and stops it at the end of the test.
package servicetest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nines-ha/nines/service"
)

// A Server is a running service.
type Server struct {
	URL   string // of the service
	Admin string // of /livez, /readyz, /startupz and /metrics

	stop context.CancelFunc
	done chan struct{}
	err  error
	log  *buffer

	judged atomic.Bool // the test has seen err
}

// Start runs setup as [service.Main] does and returns once the service listens.
// The environment holds only what is given, and no drain delay unless given.
// The test fails when setup does, and when the service, unless Stop or Wait was
// called, does not stop cleanly at the end.
func Start(t testing.TB, environment map[string]string, setup func(context.Context, *service.Service) error) *Server {
	t.Helper()
	s := Launch(t, environment, setup)
	deadline := time.Now().Add(30 * time.Second)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	for time.Now().Before(deadline) {
		select {
		case <-s.done:
			t.Fatalf("start: %v\n%s", s.err, s.Log())
		case <-time.After(2 * time.Millisecond):
		}
		answer, err := client.Get(s.Admin + "/startupz")
		if err != nil {
			continue
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return s
		}
	}
	t.Fatalf("start: setup still runs after 30 seconds\n%s", s.Log())
	return nil
}

// Launch is Start without the wait, for a test of starting itself.
func Launch(t testing.TB, environment map[string]string, setup func(context.Context, *service.Service) error) *Server {
	t.Helper()
	main, admin := listen(t), listen(t)
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{
		URL: "http://" + main.Addr().String(), Admin: "http://" + admin.Addr().String(),
		stop: stop, done: make(chan struct{}), log: &buffer{},
	}
	environment = maps.Clone(environment)
	if environment == nil {
		environment = map[string]string{}
	}
	if _, given := environment["DRAIN_DELAY"]; !given {
		environment["DRAIN_DELAY"] = "0s"
	}
	runner := service.Runner{Name: "test", Environment: environment, HTTP: main, Admin: admin, Log: s.log}
	go func() {
		defer close(s.done)
		s.err = runner.Run(ctx, setup)
	}()
	t.Cleanup(func() {
		judged := s.judged.Load()
		if err := s.Stop(); err != nil && !judged && !t.Failed() {
			t.Errorf("stop: %v\n%s", err, s.Log())
		}
	})
	return s
}

// Terminate does what SIGTERM does, and does not wait.
func (s *Server) Terminate() { s.stop() }

// Stop terminates the service and returns what Run returned.
func (s *Server) Stop() error {
	s.stop()
	return s.Wait()
}

// Wait returns what Run returned once it has.
func (s *Server) Wait() error {
	s.judged.Store(true)
	const longest = time.Minute
	select {
	case <-s.done:
		return s.err
	case <-time.After(longest):
		return fmt.Errorf("the service still runs after %s", longest)
	}
}

// Log returns the JSON lines logged so far.
func (s *Server) Log() string { return s.log.String() }

func listen(t testing.TB) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

type buffer struct {
	mu    sync.Mutex
	bytes bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes.String()
}
