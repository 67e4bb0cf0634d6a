package main

import (
	"context"
	"net/http"
	"sync"
	"testing"

	"github.com/nines-ha/nines/fleet/vehicle/wiring"
	"github.com/nines-ha/nines/service"
	"github.com/nines-ha/nines/service/servicetest"
)

// More requests than the vehicle service takes wait at once for something that
// does not come, and nothing ends their waiting: the first answer is the one
// that all have arrived for.
func TestNobodyIsTurnedAwayAndNothingEnds(t *testing.T) {
	const callers = 200
	inside, bounded := make(chan bool, callers), 0
	release := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, deadline := r.Context().Deadline()
		inside <- deadline
		<-release
		w.WriteHeader(http.StatusOK)
	})
	s := servicetest.Start(t, nil, func(_ context.Context, s *service.Service) error {
		serve(s, handler)
		return nil
	})
	var group sync.WaitGroup
	codes := make(chan int, callers)
	for range callers {
		group.Go(func() {
			response, err := http.Post(s.URL+"/v1/vehicles/X/signals", "application/json", nil)
			if err != nil {
				t.Error(err)
				return
			}
			response.Body.Close()
			codes <- response.StatusCode
		})
	}
	for range callers {
		select {
		case limited := <-inside:
			if limited {
				bounded++
			}
		case code := <-codes:
			t.Fatalf("answered %d, and all should wait", code)
		}
	}
	if bounded > 0 {
		t.Errorf("%d of %d requests have a deadline", bounded, callers)
	}
	close(release)
	group.Wait()
}

// The limits that are missing are there in the service this is a twin of.
func TestTheOtherTwinsHaveDeadlines(t *testing.T) {
	seen := make(chan bool, 1)
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, deadline := r.Context().Deadline()
		seen <- deadline
	})
	s := servicetest.Start(t, nil, func(_ context.Context, s *service.Service) error {
		writing, reading := wiring.Limits()
		wiring.Serve(s, handler, handler, writing, reading)
		return nil
	})
	response, err := http.Post(s.URL+"/v1/vehicles/X/signals", "application/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if !<-seen {
		t.Error("a request without a deadline")
	}
}
