package service_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nines-ha/nines/service"
	"github.com/nines-ha/nines/service/servicetest"
)

// client speaks HTTP/1.1 or unencrypted HTTP/2, and leaves nothing behind.
func client(t testing.TB, h2 bool) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!h2)
	protocols.SetUnencryptedHTTP2(h2)
	transport := &http.Transport{Protocols: protocols, MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

func get(t testing.TB, c *http.Client, url string, header ...string) (*http.Response, string) {
	t.Helper()
	answer, body, err := tryGet(c, url, header...)
	if err != nil {
		t.Fatal(err)
	}
	return answer, body
}

func tryGet(c *http.Client, url string, header ...string) (*http.Response, string, error) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, "", err
	}
	for pair := range slices.Chunk(header, 2) {
		request.Header.Set(pair[0], pair[1])
	}
	answer, err := c.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer, string(body), err
}

func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("waited 30 seconds for: %s", what)
}

func refuses(url string) func() bool {
	return func() bool {
		connection, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err == nil {
			connection.Close()
		}
		return err != nil
	}
}

// slow answers /fast at once and /slow when it is released.
type slow struct {
	entered, release chan struct{}
}

func newSlow() *slow {
	return &slow{make(chan struct{}, 16), make(chan struct{})}
}

func (h *slow) setup(_ context.Context, s *service.Service) error {
	s.Handle("/fast", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "fast") }))
	s.Handle("/slow", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h.entered <- struct{}{}
		<-h.release
		io.WriteString(w, "slow")
	}), service.Timeout(0))
	return nil
}

type result struct {
	answer *http.Response
	body   string
	err    error
}

func goGet(c *http.Client, url string) <-chan result {
	done := make(chan result, 1)
	go func() {
		answer, body, err := tryGet(c, url)
		done <- result{answer, body, err}
	}()
	return done
}

func TestDrainFinishesRequests(t *testing.T) {
	t.Parallel()
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			handler, c := newSlow(), client(t, h2)
			server := servicetest.Start(t, nil, handler.setup)
			inFlight := goGet(c, server.URL+"/slow")
			<-handler.entered
			server.Terminate()
			await(t, "a closed listener", refuses(server.URL))
			close(handler.release)
			got := <-inFlight
			if got.err != nil || got.answer.StatusCode != http.StatusOK || got.body != "slow" {
				t.Errorf("request in flight: %+v", got)
			}
			if got.err == nil && got.answer.Proto != name {
				t.Errorf("spoke %s", got.answer.Proto)
			}
			if err := server.Wait(); err != nil {
				t.Errorf("stop: %v", err)
			}
		})
	}
}

// The order that keeps a rolling update free of errors: not ready, still
// serving and asking callers to leave, and only then no longer listening.
func TestDrainServesWhileUnready(t *testing.T) {
	t.Parallel()
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			handler, c := newSlow(), client(t, h2)
			defer close(handler.release)
			server := servicetest.Start(t, map[string]string{"DRAIN_DELAY": "5s"}, handler.setup)
			_, first := getFrom(t, c, server.URL+"/fast")
			answer, second := getFrom(t, c, server.URL+"/fast")
			if first != second || answer.Close {
				t.Fatalf("a healthy service closes connections: %s, then %s", first, second)
			}
			server.Terminate()
			admin := client(t, false)
			await(t, "readiness to turn false", func() bool {
				answer, _ := get(t, admin, server.Admin+"/readyz")
				return answer.StatusCode == http.StatusServiceUnavailable
			})
			if answer, _ := get(t, admin, server.Admin+"/livez"); answer.StatusCode != http.StatusOK {
				t.Errorf("livez while draining: %s", answer.Status)
			}
			// The connection that is open gets its answer, and word that it is the last.
			answer, third := getFrom(t, c, server.URL+"/fast")
			if answer.StatusCode != http.StatusOK || third != second {
				t.Errorf("first request while draining: %s on %s, want 200 on %s", answer.Status, third, second)
			}
			if !h2 && !answer.Close {
				t.Error("no Connection: close")
			}
			// New connections are still served, for callers that have not heard.
			await(t, "the client to leave the old connection", func() bool {
				answer, local := getFrom(t, c, server.URL+"/fast")
				if answer.StatusCode != http.StatusOK {
					t.Fatalf("while draining: %s", answer.Status)
				}
				return local != third
			})
			if err := server.Wait(); err != nil {
				t.Errorf("stop: %v", err)
			}
			if !refuses(server.URL)() {
				t.Error("still listening after the end")
			}
		})
	}
}

// getFrom also says from which address the request went out.
func getFrom(t *testing.T, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	var local string
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { local = info.Conn.LocalAddr().String() },
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		t.Fatal(err)
	}
	return answer, local
}

func TestStopOrder(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var order []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, what)
	}
	hook := func(what string) func(context.Context) error {
		return func(context.Context) error { note(what); return nil }
	}
	entered := make(chan struct{})
	var url string
	server := servicetest.Start(t, nil, func(_ context.Context, s *service.Service) error {
		s.OnStop("first", hook("first hook"))
		s.OnStop("second", hook("second hook"))
		s.Go("work", func(ctx context.Context) error {
			<-ctx.Done()
			note("work")
			return ctx.Err()
		})
		s.Handle("/", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			close(entered)
			<-s.Draining()
			await(t, "a closed listener", refuses(url))
			note("request")
		}))
		return nil
	})
	url = server.URL
	done := goGet(client(t, false), url)
	<-entered
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got.err != nil {
		t.Error(got.err)
	}
	if want := []string{"request", "work", "second hook", "first hook"}; !slices.Equal(order, want) {
		t.Errorf("order %q, want %q", order, want)
	}
}

func TestStopThatCutsIsUnclean(t *testing.T) {
	t.Parallel()
	broken := errors.New("no luck")
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	cases := []struct {
		name string
		add  func(*service.Service)
		want string
	}{
		{"hook fails", func(s *service.Service) { s.OnStop("cache", func(context.Context) error { return broken }) }, "stop cache: no luck"},
		{"hook panics", func(s *service.Service) { s.OnStop("cache", func(context.Context) error { panic("odd") }) }, "stop cache: panic: odd"},
		{"hook hangs", func(s *service.Service) { s.OnStop("cache", func(context.Context) error { <-release; return nil }) }, "stop cache: context deadline exceeded"},
		{"work hangs", func(s *service.Service) { s.Go("work", func(context.Context) error { <-release; return nil }) }, "background work still running"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			server := servicetest.Start(t, map[string]string{"SHUTDOWN_TIMEOUT": "100ms"}, func(_ context.Context, s *service.Service) error {
				c.add(s)
				return nil
			})
			err := server.Stop()
			if !errors.Is(err, service.ErrUnclean) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestStopCutsRequestsThatDoNotEnd(t *testing.T) {
	t.Parallel()
	handler := newSlow()
	defer close(handler.release)
	ran := false
	server := servicetest.Start(t, map[string]string{"SHUTDOWN_TIMEOUT": "200ms"}, func(ctx context.Context, s *service.Service) error {
		s.OnStop("database", func(ctx context.Context) error { ran = true; return ctx.Err() })
		return handler.setup(ctx, s)
	})
	done := goGet(client(t, false), server.URL+"/slow")
	<-handler.entered
	err := server.Stop()
	if !errors.Is(err, service.ErrUnclean) || !strings.Contains(err.Error(), "requests cut off: 1") {
		t.Errorf("got %v", err)
	}
	if got := <-done; got.err == nil {
		t.Errorf("the request got %s", got.answer.Status)
	}
	if !ran {
		t.Error("the hook had no time left")
	}
}

func TestSetupFails(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		fail func() error
		want string
	}{
		"error": {func() error { return errors.New("no luck") }, "setup: no luck"},
		"panic": {func() error { panic("odd") }, "setup: panic: odd"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			closed := false
			server := servicetest.Launch(t, nil, func(_ context.Context, s *service.Service) error {
				s.OnStop("database", func(context.Context) error { closed = true; return nil })
				return c.fail()
			})
			err := server.Wait()
			if err == nil || errors.Is(err, service.ErrUnclean) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if !closed {
				t.Error("what setup opened was not closed")
			}
			if !refuses(server.Admin)() {
				t.Error("still listening")
			}
		})
	}
}
