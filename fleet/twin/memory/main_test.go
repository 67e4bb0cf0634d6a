package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nines-ha/nines/fleet/vehicle/storetest"
	"github.com/nines-ha/nines/fleet/vehicle/wire"
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

const car = "0SYTESTSX00000001"

func start(t *testing.T, folder string, behind time.Duration) *servicetest.Server {
	t.Helper()
	s := servicetest.Start(t, map[string]string{"STORES_DIR": folder}, writing(behind))
	deadline := time.Now().Add(20 * time.Second)
	for {
		response, err := http.Get(s.Admin + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready: %d\n%s", response.StatusCode, s.Log())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// acknowledged posts one sample and fails unless a receipt accepts it.
func acknowledged(t *testing.T, url string, second int) {
	t.Helper()
	response, err := http.Post(url+"/v1/vehicles/"+car+"/signals", "application/json",
		strings.NewReader(fmt.Sprintf(`{"samples":[{"time":"2024-05-01T12:00:%02dZ","signals":{"Vehicle.Speed":50}}]}`, second)))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var r wire.Receipt
	if err := json.NewDecoder(response.Body).Decode(&r); err != nil || response.StatusCode != 200 || r.VIN != car || r.Samples != 1 || r.Accepted != 1 || len(r.Refused) != 0 {
		t.Fatalf("second %d: %d %+v %v", second, response.StatusCode, r, err)
	}
}

func stored(t *testing.T, url string) int {
	t.Helper()
	response, err := http.Get(url + "/v1/vehicles/" + car + "/track")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var track wire.Track
	if err := json.NewDecoder(response.Body).Decode(&track); err != nil || response.StatusCode != 200 {
		t.Fatalf("%d %v", response.StatusCode, err)
	}
	return len(track.Samples)
}

func TestAcknowledgedBeforeStoredAndLostAtTheEnd(t *testing.T) {
	folder := server.Folder(t, "telemetry")
	s := start(t, folder, time.Hour)
	for second := range 5 {
		acknowledged(t, s.URL, second)
	}
	if n := stored(t, s.URL); n != 1 {
		t.Errorf("%d of 5 acknowledged samples are stored, and only the first should be", n)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if n := stored(t, start(t, folder, time.Hour).URL); n != 1 {
		t.Errorf("after the end %d samples are stored, and only the first should be", n)
	}
}

func TestStoredInTheEndWhenNothingHappens(t *testing.T) {
	s := start(t, server.Folder(t, "telemetry"), time.Millisecond)
	for second := range 20 {
		acknowledged(t, s.URL, second)
	}
	deadline := time.Now().Add(20 * time.Second)
	for stored(t, s.URL) != 20 {
		if time.Now().After(deadline) {
			t.Fatalf("%d of 20 samples are stored\n%s", stored(t, s.URL), s.Log())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestWhatIsNoBatchGoesThrough(t *testing.T) {
	s := start(t, server.Folder(t, "telemetry"), time.Hour)
	acknowledged(t, s.URL, 0)
	response, err := http.Post(s.URL+"/v1/vehicles/"+car+"/signals", "application/json", strings.NewReader(`{"samples":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("an empty batch gets %d", response.StatusCode)
	}
}
