package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestFailing(t *testing.T) {
	handler := failing(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	bad := 0
	for range 5 * every {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		switch w.Code {
		case http.StatusInternalServerError:
			bad++
		case http.StatusNoContent:
		default:
			t.Fatalf("status %d", w.Code)
		}
	}
	if bad != 5 {
		t.Errorf("%d of %d failed", bad, 5*every)
	}
}
