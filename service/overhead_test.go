package service

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

func (d discard) SetReadDeadline(time.Time) error  { return nil }
func (d discard) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkHandler is BenchmarkRequest without the network: the handlers alone.
func BenchmarkHandler(b *testing.B) {
	run := func(b *testing.B, handler http.Handler) {
		request := httptest.NewRequest(http.MethodGet, "/v1/vehicles/1", nil)
		b.ReportAllocs()
		for b.Loop() {
			handler.ServeHTTP(discard{http.Header{}}, request)
		}
	}
	hello := func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }
	b.Run("net-http", func(b *testing.B) {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /v1/vehicles/{vin}", hello)
		run(b, mux)
	})
	b.Run("service", func(b *testing.B) {
		p, err := newProcess(context.Background(), Runner{Name: "bench", Environment: map[string]string{}, Log: io.Discard})
		if err != nil {
			b.Fatal(err)
		}
		defer p.end()
		p.Handle("GET /v1/vehicles/{vin}", http.HandlerFunc(hello))
		run(b, p.handler())
	})
}

func FuzzAskedBudget(f *testing.F) {
	for _, seed := range []string{"", "1", "0", "-1", "86400000", "86400001", "9223372036854775807", "1e3", " 5"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		budget, ok := askedBudget(http.Header{budgetHeader: {text}})
		if ok && (budget <= 0 || budget.Hours() > 24) || !ok && budget != 0 {
			t.Errorf("%q gives %s, %v", text, budget, ok)
		}
	})
}

func FuzzRequestID(f *testing.F) {
	for _, seed := range []string{"", "a", "4f1c-AB_9.z:7", "a b", "a\nb", strings.Repeat("a", 129), "\x00", "é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id := requestID(http.Header{requestIDHeader: {text}})
		if id == "" || len(id) > 128 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			t.Errorf("%q became %q", text, id)
		}
	})
}
