package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nines-ha/nines/fleet/vehicle/api"
	"github.com/nines-ha/nines/fleet/vehicle/store"
	"github.com/nines-ha/nines/fleet/vehicle/storetest"
)

func replayed(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, story bytes.Buffer
	command := newReplayCommand()
	command.SilenceErrors, command.SilenceUsage = true, true
	command.SetArgs(args)
	command.SetOut(&out)
	command.SetErr(&story)
	err = command.ExecuteContext(t.Context())
	return out.String(), story.String(), err
}

func TestReplayUsage(t *testing.T) {
	unknown := filepath.Join(t.TempDir(), "unknown.csv")
	if err := os.WriteFile(unknown, []byte("a,b\n1,2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		args string
		want string
	}{
		{"", "at least one of the flags in the group [telemetry generate]"},
		{"--generate 1 --telemetry x", "none of the others can be"},
		{"--generate 1 --max --speed 2x", "none of the others can be"},
		{"--generate -1", "no negative number"},
		{"--generate 1 --speed fast", "write 600x"},
		{"--generate 1 --speed 0", "write 600x"},
		{"--generate 1 --speed NaN", "write 600x"},
		{"--generate 1 --concurrency 0", "use 1 to 256"},
		{"--generate 1 --url localhost:1", "looks like http://127.0.0.1:8080"},
		{"--generate 1 --url http://127.0.0.1:1", `start the ground with "nines up"`},
		{"--telemetry " + unknown, "not a telemetry file that is known here"},
		{"--telemetry " + unknown + ".not", "no such file"},
		{"--generate 1 extra", "unknown command"},
	}
	for _, c := range cases {
		_, _, err := replayed(t, strings.Fields(c.args)...)
		if err == nil || errors.Is(err, errNo) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.args, err, c.want)
		}
	}
}

func TestReplayToTheService(t *testing.T) {
	server := storetest.Start()
	defer server.Stop()
	telemetry, err := store.Open(t.Context(), server.Database(t), 4)
	if err != nil {
		t.Fatal(err)
	}
	defer telemetry.Close()
	if err := telemetry.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	handler := api.New(telemetry, "test", api.Options{})
	web := httptest.NewServer(handler)
	defer web.Close()

	stdout, stderr, err := replayed(t, "--generate", "2", "--max", "--json", "--url", web.URL)
	if err != nil {
		t.Fatal(err, stderr)
	}
	var report struct {
		Accepted, Refused int
		Reasons           map[string]int
		Readback          struct{ Done, Equal bool }
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || report.Accepted != 480 || report.Reasons == nil || !report.Readback.Equal {
		t.Errorf("%v %s", err, stdout)
	}
	if !strings.Contains(stderr, "no vehicle ever drove them") {
		t.Errorf("the trips are not labelled synthetic: %s", stderr)
	}

	stdout, _, err = replayed(t, "--generate", "2", "--max", "--limit", "10", "--url", web.URL)
	if err != nil || !strings.Contains(stdout, "accepted  10 rows, 10 of them held before") || !strings.Contains(stdout, "70 values: all equal") {
		t.Errorf("again: %v %s", err, stdout)
	}
	stdout, _, err = replayed(t, "--generate", "1", "--max", "--limit", "10", "--seed", "9", "--no-verify", "--url", web.URL)
	if err != nil || !strings.Contains(stdout, "read back not asked for") {
		t.Errorf("without reading back: %v %s", err, stdout)
	}

	forgetful := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/track") {
			fmt.Fprint(w, `{"samples":[]}`)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	defer forgetful.Close()
	stdout, _, err = replayed(t, "--generate", "1", "--max", "--limit", "10", "--url", forgetful.URL)
	if !errors.Is(err, errNo) || !strings.Contains(stdout, "70 missing, 0 different") {
		t.Errorf("a service that forgets: %v %s", err, stdout)
	}
}
