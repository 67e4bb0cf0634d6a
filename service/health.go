package service

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"
)

type check struct {
	name  string
	ready func(context.Context) error
}

// Readiness adds a condition for /readyz. Ask for what this copy needs to answer
// well: a warm cache, a loaded schema. Do not ask a database that every copy
// shares: when it stumbles, all copies would leave the load balancer at once.
// The check runs at each probe and has one second.
func (s *Service) Readiness(name string, ready func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checks = append(s.checks, check{name, ready})
}

func (s *Service) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		writeHealth(w, nil)
	})
	mux.HandleFunc("GET /startupz", func(w http.ResponseWriter, _ *http.Request) {
		if !s.started.Load() {
			writeHealth(w, map[string]string{"setup": "still running"})
			return
		}
		writeHealth(w, nil)
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		writeHealth(w, s.unready(r.Context()))
	})
	mux.Handle("GET /metrics", s.telemetry.exposition)
	return mux
}

// unready lists what keeps the service from being ready.
func (s *Service) unready(ctx context.Context) map[string]string {
	switch {
	case s.isDraining():
		return map[string]string{"lifecycle": "draining"}
	case !s.started.Load():
		return map[string]string{"lifecycle": "starting"}
	}
	s.mu.Lock()
	checks := slices.Clone(s.checks)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	failed := map[string]string{}
	for _, c := range checks {
		if err := s.guard(func() error { return c.ready(ctx) }); err != nil {
			failed[c.name] = err.Error()
		}
	}
	return failed
}

func writeHealth(w http.ResponseWriter, failed map[string]string) {
	answer := struct {
		Status string            `json:"status"`
		Failed map[string]string `json:"failed,omitempty"`
	}{"ok", failed}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if len(failed) > 0 {
		answer.Status = "not ready"
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(answer)
}
