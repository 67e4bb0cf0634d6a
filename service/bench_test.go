package service_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/nines-ha/nines/service"
	"github.com/nines-ha/nines/service/servicetest"
)

func hello(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }

// Over a loopback connection, the difference is what the library adds to a
// request: compare the two in one run.
func BenchmarkRequest(b *testing.B) {
	run := func(b *testing.B, url string) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			c := client(b, false)
			for pb.Next() {
				answer, err := c.Get(url + "/v1/vehicles/1")
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
			}
		})
	}
	b.Run("net-http", func(b *testing.B) {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /v1/vehicles/{vin}", hello)
		server := httptest.NewServer(mux)
		defer server.Close()
		run(b, server.URL)
	})
	b.Run("service", func(b *testing.B) {
		server := servicetest.Start(b, nil, serve("GET /v1/vehicles/{vin}", hello))
		run(b, server.URL)
	})
}

func BenchmarkShed(b *testing.B) {
	entered, release := make(chan struct{}), make(chan struct{})
	server := servicetest.Start(b, map[string]string{"LOG_LEVEL": "error"}, func(_ context.Context, s *service.Service) error {
		s.Handle("/", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			close(entered)
			<-release
		}), service.Concurrency(1), service.Timeout(0))
		return nil
	})
	c := client(b, false)
	full := goGet(c, server.URL)
	<-entered
	b.ReportAllocs()
	for b.Loop() {
		if answer, _ := get(b, c, server.URL); answer.StatusCode != http.StatusTooManyRequests {
			b.Fatal(answer.Status)
		}
	}
	close(release)
	<-full
}
