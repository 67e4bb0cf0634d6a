package balancer

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nines-ha/nines/internal/namespace"
)

func TestProbeAnswers(t *testing.T) {
	handler := http.NewServeMux()
	handler.HandleFunc("/ok", func(http.ResponseWriter, *http.Request) {})
	handler.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	handler.HandleFunc("/created", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })
	handler.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()
	closed := httptest.NewServer(handler)
	closed.Close()
	for name, test := range map[string]struct {
		server   *httptest.Server
		protocol Protocol
		path     string
		want     string // of the error; empty: healthy
	}{
		"handshake":      {plain, TCP, "", ""},
		"nobody listens": {closed, TCP, "", "refused"},
		"200":            {plain, HTTP, "/ok", ""},
		"200 with TLS":   {secure, HTTPS, "/ok", ""},
		"no TLS there":   {plain, HTTPS, "/ok", "tls:"},
		"not found":      {plain, HTTP, "/", "status 404"},
		"redirect":       {plain, HTTP, "/moved", "status 302"},
		"another 2xx":    {plain, HTTP, "/created", "status 201"},
		"no answer":      {plain, HTTP, "/slow", "deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			u, err := url.Parse(test.server.URL)
			must(t, err)
			where := netip.MustParseAddrPort(u.Host)
			p := &prober{router: &namespace.Set{}, target: target{where.Addr(), Probe{
				Protocol: test.protocol, Port: where.Port(), Path: test.path, Interval: 300 * time.Millisecond, Threshold: 1,
			}}}
			err = p.once(context.Background())
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v; want %q", err, test.want)
			}
		})
	}
}

func TestChangesAreTold(t *testing.T) {
	r := newRegion(t, 1)
	changes := make(chan Change, 10)
	p := r.open(Config{Changed: func(c Change) { changes <- c }})
	must(t, p.Apply(t.Context(), web(healthz()), r.backends()))
	next := func() Change {
		select {
		case c := <-changes:
			return c
		case <-time.After(patience):
			t.Fatal("no change")
			return Change{}
		}
	}
	if c := next(); c.State != Up || c.Node != "node-0" {
		t.Errorf("first %+v", c)
	}
	r.machines[0].setHealth(http.StatusTeapot)
	if c := next(); c.State != Down || !strings.Contains(c.Reason, "status 418") {
		t.Errorf("then %+v", c)
	}
}
