package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nines-ha/nines/service"
	"github.com/nines-ha/nines/service/servicetest"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	inner := http.NewServeMux()
	inner.HandleFunc("GET /v1/vehicles/{vin}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	server := servicetest.Start(t, nil, func(_ context.Context, s *service.Service) error {
		s.Handle("/v1/", inner)
		counter, err := s.Meter().Int64Counter("vehicle.samples")
		if err != nil {
			return err
		}
		counter.Add(context.Background(), 3)
		return nil
	})
	c := client(t, false)
	for _, host := range []string{"", "made-up.example", "other.example"} {
		request, err := http.NewRequest(http.MethodGet, server.URL+"/v1/vehicles/WVWZZZ1", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		answer, err := c.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
	}
	_, metrics := get(t, c, server.Admin+"/metrics")
	for _, want := range []string{
		`http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="418",http_route="/v1/vehicles/{vin}",network_protocol_version="1.1"} 3`,
		`http_server_request_duration_seconds_bucket{http_request_method="GET",http_response_status_code="418",http_route="/v1/vehicles/{vin}",network_protocol_version="1.1",le="0.3"}`,
		"http_server_active_requests 0", "service_draining 0", "vehicle_samples_total 3",
		"go_goroutines ", "process_open_fds ", `service_name="test"`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s", want)
		}
	}
	for _, unwanted := range []string{"made-up.example", "WVWZZZ1", "otel_scope"} {
		if strings.Contains(metrics, unwanted) {
			t.Errorf("a label holds %s", unwanted)
		}
	}
	if t.Failed() {
		t.Log(metrics)
	}
}

func TestTracesAreExportedWhenAsked(t *testing.T) {
	var exported atomic.Int64
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/v1/traces" && strings.Contains(string(body), "/traced/{id}") {
			exported.Add(1)
		}
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	server := servicetest.Start(t, nil, func(_ context.Context, s *service.Service) error {
		s.Handle("/traced/{id}", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			s.Log().InfoContext(r.Context(), "in the handler")
		}))
		return nil
	})
	get(t, client(t, false), server.URL+"/traced/1")
	if err := server.Stop(); err != nil { // flushes
		t.Fatal(err)
	}
	if exported.Load() == 0 {
		t.Error("the collector got no span of the route")
	}
	line := logLine(t, server.Log(), "in the handler")
	for _, key := range []string{"request_id", "trace_id", "span_id", "service", "version"} {
		if line[key] == nil || line[key] == "" {
			t.Errorf("the log line lacks %s: %v", key, line)
		}
	}
}

func logLine(t *testing.T, log, message string) map[string]any {
	t.Helper()
	for text := range strings.Lines(log) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Errorf("%v in %s", err, text)
		}
		if line["msg"] == message {
			return line
		}
	}
	t.Fatalf("no line %q in\n%s", message, log)
	return nil
}

func TestHealth(t *testing.T) {
	t.Parallel()
	proceed := make(chan struct{})
	var cold atomic.Bool
	server := servicetest.Launch(t, nil, func(_ context.Context, s *service.Service) error {
		s.Readiness("cache", func(context.Context) error {
			if cold.Load() {
				return errors.New("cold")
			}
			return nil
		})
		s.Handle("/", http.NotFoundHandler())
		<-proceed
		return nil
	})
	c := client(t, false)
	probes := func(want string) {
		t.Helper()
		var got []string
		for _, probe := range []string{"/livez", "/startupz", "/readyz"} {
			answer, _ := get(t, c, server.Admin+probe)
			got = append(got, answer.Status[:3])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("livez, startupz, readyz: %s; want %s", got, want)
		}
	}
	await(t, "the admin listener", func() bool {
		_, _, err := tryGet(c, server.Admin+"/livez")
		return err == nil
	})
	probes("200 503 503")
	cold.Store(true)
	close(proceed)
	await(t, "the start", func() bool {
		answer, _ := get(t, c, server.Admin+"/startupz")
		return answer.StatusCode == http.StatusOK
	})
	probes("200 200 503")
	if _, body := get(t, c, server.Admin+"/readyz"); !strings.Contains(body, `"cache":"cold"`) {
		t.Errorf("readyz does not say why: %s", body)
	}
	cold.Store(false)
	probes("200 200 200")
	for _, path := range []string{"/metrics", "/readyz", "/debug/pprof/"} {
		if answer, _ := get(t, c, server.URL+path); answer.StatusCode != http.StatusNotFound {
			t.Errorf("%s is on the service's port", path)
		}
	}
	if answer, _ := get(t, c, server.Admin+"/debug/pprof/"); answer.StatusCode != http.StatusNotFound {
		t.Error("pprof is on the admin port")
	}
}

func TestPprofIsApart(t *testing.T) {
	t.Parallel()
	free := listenerAddr(t)
	servicetest.Start(t, map[string]string{"PPROF_ADDR": free}, func(context.Context, *service.Service) error { return nil })
	if answer, body := get(t, client(t, false), "http://"+free+"/debug/pprof/cmdline"); answer.StatusCode != http.StatusOK || body == "" {
		t.Errorf("pprof: %s", answer.Status)
	}
}
