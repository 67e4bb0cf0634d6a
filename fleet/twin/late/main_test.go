package main

import (
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/nines-ha/nines/fleet/vehicle/storetest"
	"github.com/nines-ha/nines/service/servicetest"
)

var server *storetest.Server

func TestMain(m *testing.M) {
	server = storetest.Start()
	code := m.Run()
	if err := server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func get(t *testing.T, url string) int {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

// While it warms up it lives, and its probes, where somebody asks them, say that
// it does not serve.
func TestLivesLongBeforeItServes(t *testing.T) {
	folder := map[string]string{"STORES_DIR": server.Folder(t, "telemetry")}
	s := servicetest.Launch(t, folder, after(time.Hour))
	deadline := time.Now().Add(20 * time.Second)
	for get(t, s.Admin+"/livez") != http.StatusOK {
		if time.Now().After(deadline) {
			t.Fatal("it does not live")
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, probe := range []string{"/startupz", "/readyz"} {
		if code := get(t, s.Admin+probe); code != http.StatusServiceUnavailable {
			t.Errorf("%s says %d while it warms up", probe, code)
		}
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	warm := servicetest.Start(t, folder, after(0))
	if code := get(t, warm.URL+"/openapi.json"); code != http.StatusOK {
		t.Errorf("once warm it answers %d", code)
	}
}
