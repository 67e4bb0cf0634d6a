package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nines-ha/nines/service"
	"github.com/nines-ha/nines/service/servicetest"
)

func serve(pattern string, handler http.HandlerFunc, options ...service.RouteOption) func(context.Context, *service.Service) error {
	return func(_ context.Context, s *service.Service) error {
		s.Handle(pattern, handler, options...)
		return nil
	}
}

func problem(t *testing.T, answer *http.Response, body string) map[string]any {
	t.Helper()
	if got := answer.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("content type %q", got)
	}
	var members map[string]any
	if err := json.Unmarshal([]byte(body), &members); err != nil {
		t.Fatalf("%v in %q", err, body)
	}
	if members["status"] != float64(answer.StatusCode) || members["request_id"] != answer.Header.Get("X-Request-Id") || members["title"] == "" {
		t.Errorf("%s with the problem %v", answer.Status, members)
	}
	return members
}

func TestSheds(t *testing.T) {
	t.Parallel()
	const places = 3
	entered, release := make(chan struct{}, places), make(chan struct{})
	server := servicetest.Start(t, nil, serve("GET /", func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-release
	}, service.Concurrency(places)))
	c := client(t, false)
	var running []<-chan result
	for range places {
		running = append(running, goGet(c, server.URL))
		<-entered
	}
	answer, body := get(t, c, server.URL)
	if answer.StatusCode != http.StatusTooManyRequests || answer.Header.Get("Retry-After") != "1" {
		t.Errorf("over the limit: %s, Retry-After %q", answer.Status, answer.Header.Get("Retry-After"))
	}
	problem(t, answer, body)
	_, metrics := get(t, c, server.Admin+"/metrics")
	for _, line := range []string{
		`service_requests_shed_total{http_route="/"} 1`,
		`http_server_active_requests 3`,
	} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("metrics lack %s", line)
		}
	}
	close(release)
	for _, r := range running {
		if got := <-r; got.err != nil || got.answer.StatusCode != http.StatusOK {
			t.Errorf("within the limit: %+v", got)
		}
	}
	if answer, _ := get(t, c, server.URL); answer.StatusCode != http.StatusOK {
		t.Errorf("afterwards: %s", answer.Status)
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name           string
		route          time.Duration
		header         string
		atLeast, below time.Duration // what the handler has; below 0 means no deadline
	}{
		{"the route's", time.Hour, "", 50 * time.Minute, time.Hour},
		{"the caller's is shorter", time.Hour, "60000", 10 * time.Second, time.Minute},
		{"the caller's is longer", time.Minute, "3600000", 10 * time.Second, time.Minute},
		{"not a number", time.Hour, "soon", 50 * time.Minute, time.Hour},
		{"negative", time.Hour, "-5", 50 * time.Minute, time.Hour},
		{"none", 0, "", 0, 0},
		{"only the caller's", 0, "60000", 10 * time.Second, time.Minute},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := servicetest.Start(t, nil, serve("/", func(w http.ResponseWriter, r *http.Request) {
				if deadline, ok := r.Context().Deadline(); ok {
					fmt.Fprint(w, time.Until(deadline))
				}
			}, service.Timeout(c.route)))
			_, body := get(t, client(t, false), server.URL, "X-Envoy-Expected-Rq-Timeout-Ms", c.header)
			if c.below == 0 {
				if body != "" {
					t.Errorf("has %s, want no deadline", body)
				}
				return
			}
			left, err := time.ParseDuration(body)
			if err != nil || left < c.atLeast || left > c.below {
				t.Errorf("has %s (%v), want %s to %s", body, err, c.atLeast, c.below)
			}
		})
	}
}

func TestDeadlinePasses(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"nothing said": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"error said": func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			service.WriteError(w, r, fmt.Errorf("read: %w", r.Context().Err()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := servicetest.Start(t, nil, serve("/", handler, service.Timeout(20*time.Millisecond)))
			answer, body := get(t, client(t, false), server.URL)
			if answer.StatusCode != http.StatusGatewayTimeout {
				t.Errorf("got %s", answer.Status)
			}
			problem(t, answer, body)
		})
	}
}

// A caller that sends its body by drops holds a handler no longer than the
// route allows, though a read from a connection knows no context.
func TestDeadlineEndsSlowBody(t *testing.T) {
	t.Parallel()
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan error, 1)
			server := servicetest.Start(t, nil, serve("/", func(w http.ResponseWriter, r *http.Request) {
				_, err := io.ReadAll(r.Body)
				ended <- err
				service.WriteError(w, r, err)
			}, service.Timeout(10*time.Millisecond)))
			reader, writer := io.Pipe()
			defer writer.Close()
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				answer, err := client(t, h2).Post(server.URL, "text/plain", reader)
				if err == nil {
					answer.Body.Close()
				}
			}()
			select {
			case err := <-ended:
				if err == nil {
					t.Error("read a body that never ended")
				}
			case <-time.After(20 * time.Second): // well before the server's own timeout
				t.Error("still reading")
			}
			writer.Close()
			<-sent
		})
	}
}

func TestMaxBody(t *testing.T) {
	t.Parallel()
	server := servicetest.Start(t, nil, serve("/", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			service.WriteError(w, r, err)
		}
	}, service.MaxBody(4)))
	for body, want := range map[string]int{"": 200, "four": 200, "five5": 413} {
		answer, err := client(t, false).Post(server.URL, "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%q: %s, want %d", body, answer.Status, want)
		}
	}
}

func TestPanics(t *testing.T) {
	t.Parallel()
	server := servicetest.Start(t, nil, func(_ context.Context, s *service.Service) error {
		s.Handle("/before", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("hush") }))
		s.Handle("/after", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "half")
			panic("hush")
		}))
		s.Handle("/fine", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), service.Concurrency(1))
		return nil
	})
	c := client(t, false)
	answer, body := get(t, c, server.URL+"/before", "X-Request-Id", "abc-1")
	if answer.StatusCode != http.StatusInternalServerError {
		t.Errorf("got %s", answer.Status)
	}
	problem(t, answer, body)
	if strings.Contains(body, "hush") || strings.Contains(body, "goroutine") {
		t.Errorf("the caller is told %s", body)
	}
	if log := server.Log(); !strings.Contains(log, "hush") || !strings.Contains(log, "route_test.go") || !strings.Contains(log, `"request_id":"abc-1"`) {
		t.Errorf("the log lacks the panic, its stack or the request id:\n%s", log)
	}
	// A client of its own, because one with a used connection would try again.
	if answer, body, err := tryGet(client(t, false), server.URL+"/after"); err == nil {
		t.Errorf("half an answer looks whole: %s %q", answer.Status, body)
	}
	if _, metrics := get(t, c, server.Admin+"/metrics"); !strings.Contains(metrics, "service_panics_total 2\n") {
		t.Error("metrics lack service_panics_total 2")
	}
	if answer, _ := get(t, c, server.URL+"/fine"); answer.StatusCode != http.StatusOK {
		t.Errorf("afterwards: %s", answer.Status)
	}
}

func TestErrorsTellCallersLittle(t *testing.T) {
	t.Parallel()
	server := servicetest.Start(t, nil, serve("GET /", func(w http.ResponseWriter, r *http.Request) {
		service.WriteError(w, r, errors.New("password of db-1 is wrong"))
	}))
	answer, body := get(t, client(t, false), server.URL)
	if members := problem(t, answer, body); answer.StatusCode != 500 || strings.Contains(body, "db-1") || members["detail"] != nil {
		t.Errorf("%s %s", answer.Status, body)
	}
	if !strings.Contains(server.Log(), "password of db-1 is wrong") {
		t.Errorf("not in the log:\n%s", server.Log())
	}
}

func TestUnknownRoutes(t *testing.T) {
	t.Parallel()
	server := servicetest.Start(t, nil, func(_ context.Context, s *service.Service) error {
		s.Handle("POST /known", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		s.Handle("/own", http.HandlerFunc(http.NotFound))
		return nil
	})
	c := client(t, false)
	answer, body := get(t, c, server.URL+"/unknown")
	if answer.StatusCode != http.StatusNotFound {
		t.Errorf("unknown path: %s", answer.Status)
	}
	problem(t, answer, body)
	answer, body = get(t, c, server.URL+"/known")
	if answer.StatusCode != http.StatusMethodNotAllowed || answer.Header.Get("Allow") != "POST" {
		t.Errorf("unknown method: %s, Allow %q", answer.Status, answer.Header.Get("Allow"))
	}
	problem(t, answer, body)
	if _, body := get(t, c, server.URL+"/own"); !strings.HasPrefix(body, "404 page") {
		t.Errorf("a handler's own answer became %q", body)
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	server := servicetest.Start(t, map[string]string{
		"POD_NAME": "vehicle-1", "NODE_NAME": "node-2", "ZONE": "westeurope-3", "SERVICE_VERSION": "1.2.3",
	}, serve("/", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, service.RequestID(r.Context())) }))
	cases := map[string]struct {
		sent string
		kept bool
	}{
		"kept":       {"4f1c-AB_9.z:7", true},
		"missing":    {"", false},
		"line break": {"a b", false},
		"quote":      {`a"b`, false},
		"too long":   {strings.Repeat("a", 129), false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			answer, body := get(t, client(t, false), server.URL, "X-Request-Id", c.sent)
			for header, want := range map[string]string{
				"X-Served-By-Pod": "vehicle-1", "X-Served-By-Node": "node-2",
				"X-Served-By-Zone": "westeurope-3", "X-Served-By-Version": "1.2.3",
			} {
				if got := answer.Header.Get(header); got != want {
					t.Errorf("%s: %q, want %q", header, got, want)
				}
			}
			id := answer.Header.Get("X-Request-Id")
			if (id == c.sent) != c.kept || len(id) < 10 || body != id {
				t.Errorf("sent %q, got %q, the handler saw %q", c.sent, id, body)
			}
		})
	}
}

// A stream is delivered piece by piece through all the wrapping.
func TestStreams(t *testing.T) {
	t.Parallel()
	next := make(chan string, 1)
	server := servicetest.Start(t, nil, serve("/", func(w http.ResponseWriter, _ *http.Request) {
		for piece := range next {
			io.WriteString(w, piece)
			w.(http.Flusher).Flush()
		}
	}, service.Timeout(0)))
	next <- "one"
	answer, err := client(t, false).Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	for _, want := range []string{"one", "two"} {
		got := make([]byte, 3)
		if _, err := io.ReadFull(answer.Body, got); err != nil || string(got) != want {
			t.Errorf("got %q, %v", got, err)
		}
		if want == "one" {
			next <- "two"
		}
	}
	close(next)
}
