package hops

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/nines-ha/nines/record"
)

const failedLine = `{"at":"2026-01-02T15:04:05.250Z","ms":52,"status":503,"flags":"UF,URX","details":"upstream_reset_before_response_started{connection_timeout}","id":"5c783e4d-01","trace":"0af7","method":"PUT","path":"/v1/x","route":"vehicle","upstream":"10.0.0.7:8080","cluster":"outbound|80||vehicle.fleet.svc.cluster.local","attempts":3,"failure":"connection_timeout","peer":null,"from":"100.65.0.1:4711","to":"10.0.1.1:8080","bytesIn":10,"bytesOut":91}`

func TestParse(t *testing.T) {
	e, ok := parse([]byte(failedLine))
	want := record.Hop{
		ID: "5c783e4d-01", Length: 52 * time.Millisecond, Status: 503, Flags: []string{"UF", "URX"}, Details: "upstream_reset_before_response_started{connection_timeout}",
		Upstream: "10.0.0.7:8080", Attempts: 3, Failure: "connection_timeout", Trace: "0af7",
	}
	if diff := cmp.Diff(want, e.hop); !ok || diff != "" {
		t.Error(ok, diff)
	}
	if !e.at.Equal(time.Date(2026, 1, 2, 15, 4, 5, 250e6, time.UTC)) {
		t.Errorf("at %s", e.at)
	}
	// Envoy writes what is not known as null, as a dash, or leaves it out; numbers may
	// be texts.
	e, ok = parse([]byte(`{"at":"2026-01-02T15:04:05Z","ms":"7","status":"0","flags":"-","details":"-","id":"a","upstream":null,"attempts":null,"failure":"-"}`))
	if diff := cmp.Diff(record.Hop{ID: "a", Length: 7 * time.Millisecond}, e.hop); !ok || diff != "" {
		t.Error(ok, diff)
	}
	for _, line := range []string{
		"", "2026-01-02T15:04:05.000000Z\tinfo\txdsproxy\tconnected to delta upstream XDS server", `[2026-01-02 15:04:05.000][15][warning]`,
		`{"level":"info","time":"2026-01-02T15:04:05Z","msg":"ready"}`, `{"at":"yesterday","id":"a"}`, `{"at":"2026-01-02T15:04:05Z","flags":"-","id":null}`, `{"at":`, `[]`, `{"at":{"a":1},"id":"x"}`,
	} {
		if e, ok := parse([]byte(line)); ok {
			t.Errorf("%q is taken for a line of an access log: %+v", line, e)
		}
	}
}

func TestProxy(t *testing.T) {
	for _, test := range []struct {
		cluster, to string
		gateway     bool
		want        string
	}{
		{"outbound|80||vehicle.fleet.svc.cluster.local", "10.0.0.1:8080", true, record.AtGateway},
		{"inbound|8080||", "10.0.0.1:8080", false, record.Inbound},
		{"InboundPassthroughCluster", "10.0.0.1:9", false, record.Inbound},
		{"outbound|5432||store.example", "20.0.0.1:5432", false, record.Outbound},
		{"BlackHoleCluster", "20.0.0.1:5432", false, record.Outbound},
		{"-", "10.0.0.1:8080", false, record.Inbound},
		{"-", "20.0.0.1:80", false, record.Outbound},
		{"-", "", false, record.Outbound},
	} {
		body, err := json.Marshal(map[string]string{"at": "2026-01-02T15:04:05Z", "id": "a", "cluster": test.cluster, "to": test.to})
		if err != nil {
			t.Fatal(err)
		}
		e, ok := parse(body)
		if got := e.proxy(test.gateway, "10.0.0.1"); !ok || got != test.want {
			t.Errorf("%s to %s is %s, want %s", test.cluster, test.to, got, test.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(failedLine))
	f.Add([]byte(`{"at":"2026-01-02T15:04:05Z","ms":1e300,"status":-7,"flags":"` + strings.Repeat("Ü,", 99) + `","id":"` + strings.Repeat("ü", 99) + `"}`))
	f.Add([]byte("2026 plain text"))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, ok := parse(line)
		if !ok {
			return
		}
		h := e.hop
		for _, text := range append([]string{h.ID, h.Details, h.Upstream, h.Failure, h.Peer, h.Trace}, h.Flags...) {
			if len(text) > mostText || !utf8.ValidString(text) || text == "-" {
				t.Errorf("%q is kept", text)
			}
		}
		if len(h.Flags) > mostSign || h.Length < 0 || h.Status < 0 || h.Attempts < 0 {
			t.Errorf("%+v", h)
		}
		if p := e.proxy(false, "10.0.0.1"); p != record.Inbound && p != record.Outbound {
			t.Errorf("proxy %q", p)
		}
	})
}
