package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
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

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// until polls, for a state that another goroutine brings about.
func until(t *testing.T, url string, status int) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		got, body := get(t, url)
		if got == status {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d %s, want %d", url, got, body, status)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func post(t *testing.T, url string) *http.Response {
	t.Helper()
	response, err := http.Post(url+"/v1/vehicles/"+car+"/signals", "application/json",
		strings.NewReader(`{"samples":[{"time":"2024-05-01T12:00:00Z","signals":{"Vehicle.Speed":50}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}

func TestTwoCopiesServeOneFleet(t *testing.T) {
	environment := map[string]string{"STORES_DIR": server.Folder(t, "telemetry"), "ZONE": "westeurope-1", "POD_NAME": "vehicle-0"}
	first := servicetest.Start(t, environment, setup)
	second := servicetest.Start(t, environment, setup)
	until(t, first.Admin+"/readyz", 200)
	until(t, second.Admin+"/readyz", 200)

	response := post(t, first.URL)
	var receipt wire.Receipt
	if err := json.NewDecoder(response.Body).Decode(&receipt); err != nil || receipt.Accepted != 1 {
		t.Fatalf("%d %+v %v", response.StatusCode, receipt, err)
	}
	if response.Header.Get("X-Served-By-Zone") != "westeurope-1" || response.Header.Get("X-Request-Id") == "" {
		t.Errorf("headers %v", response.Header)
	}
	if status, body := get(t, second.URL+"/v1/vehicles/"+car); status != 200 || !strings.Contains(body, `"value":50,"unit":"km/h"`) {
		t.Errorf("the other copy says %d %s", status, body)
	}
	if status, body := get(t, second.URL+"/openapi.json"); status != 200 || !strings.Contains(body, "/v1/vehicles/{vin}/track") {
		t.Errorf("document: %d %.100s", status, body)
	}
	if status, body := get(t, first.Admin+"/metrics"); status != 200 || !strings.Contains(body, "vehicle_values") || !strings.Contains(body, `http_route="POST /v1/vehicles/{vin}/signals"`) && !strings.Contains(body, `http_route="/v1/vehicles/{vin}/signals"`) {
		t.Errorf("metrics: %d\n%s", status, body)
	}
	for path, want := range map[string]int{"/v2": 404, "/v1/vehicles/": 404, "/v1/vehicles/" + car + "/signals": 405, "/v1/vehicles/" + car + "/speed": 404} {
		if status, body := get(t, first.URL+path); status != want || !strings.Contains(body, fmt.Sprintf(`"status":%d`, want)) {
			t.Errorf("%s: %d %s, want %d as a problem", path, status, body, want)
		}
	}
}

// A shadow has a store of its own, and knows nothing of what others keep.
func TestStoreByName(t *testing.T) {
	shadow := servicetest.Start(t, map[string]string{"STORES_DIR": server.Folder(t, "shadow"), "STORE": "shadow"}, setup)
	until(t, shadow.Admin+"/readyz", 200)
	if status, body := get(t, shadow.URL+"/v1/vehicles/"+car); status != 404 {
		t.Errorf("it says %d %s", status, body)
	}
	if response := post(t, shadow.URL); response.StatusCode != 200 {
		t.Errorf("a write to it: %d", response.StatusCode)
	}
}

// A copy that starts before its database is alive, not ready, and becomes ready
// by itself; one that loses it stays ready and says 503.
func TestDatabaseComesLateAndGoes(t *testing.T) {
	own := storetest.Start()
	own.Require(t)
	defer own.Stop()
	environment := map[string]string{"STORES_DIR": own.Folder(t, "telemetry")}
	if err := own.Pause(); err != nil {
		t.Fatal(err)
	}
	copy := servicetest.Start(t, environment, setup)
	if status, body := get(t, copy.Admin+"/readyz"); status != 503 || !strings.Contains(body, "schema") {
		t.Errorf("ready without a schema: %d %s", status, body)
	}
	until(t, copy.Admin+"/livez", 200)
	if response := post(t, copy.URL); response.StatusCode != 503 || response.Header.Get("Retry-After") == "" {
		t.Errorf("write without a database: %d %v", response.StatusCode, response.Header)
	}
	if err := own.Resume(); err != nil {
		t.Fatal(err)
	}
	until(t, copy.Admin+"/readyz", 200)
	if response := post(t, copy.URL); response.StatusCode != 200 {
		t.Errorf("write: %d", response.StatusCode)
	}
	if err := own.Pause(); err != nil {
		t.Fatal(err)
	}
	if response := post(t, copy.URL); response.StatusCode != 503 {
		t.Errorf("write without a database: %d", response.StatusCode)
	}
	until(t, copy.Admin+"/readyz", 200)
	until(t, copy.Admin+"/livez", 200)
	password, err := os.ReadFile(filepath.Join(environment["STORES_DIR"], "telemetry", "password"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(copy.Log(), string(password)) {
		t.Error("the log tells the password")
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	copy := servicetest.Launch(t, map[string]string{"STORES_DIR": t.TempDir(), "STORE_CONNECTIONS": "1"}, setup)
	if err := copy.Wait(); err == nil || !strings.Contains(err.Error(), "STORE_CONNECTIONS") {
		t.Errorf("got %v", err)
	}
}
