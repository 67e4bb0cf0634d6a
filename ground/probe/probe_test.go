package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/nines-ha/nines/internal/namespace"
	"github.com/nines-ha/nines/internal/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sham is a pod: a process that holds a network namespace of its own, in which
// alone its services listen.
type sham struct {
	t   *testing.T
	pid int
	net *namespace.Set
}

func newSham(t *testing.T) *sham {
	t.Helper()
	holder := exec.Command("cat")
	holder.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	hold, err := holder.StdinPipe() // it ends with this process
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Skip("network namespaces need root: ", err)
	}
	t.Cleanup(func() { hold.Close(); _ = holder.Wait() })
	s := &sham{t: t, pid: holder.Process.Pid}
	if s.net, err = namespace.NetOf(s.pid); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.net.Close)
	handle, err := netlink.NewHandleAt(netns.NsHandle(s.net.Net.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	lo, err := handle.LinkByName("lo")
	if err == nil {
		err = handle.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// serve hands each connection to f and ends it afterwards.
func (s *sham) serve(f func(net.Conn)) netip.AddrPort {
	s.t.Helper()
	l, err := s.net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f(conn)
			conn.Close()
		}
	}()
	s.t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func (s *sham) web(config *tls.Config) netip.AddrPort {
	s.t.Helper()
	l, err := s.net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	if config != nil {
		l = tls.NewListener(l, config)
	}
	server := &http.Server{ReadHeaderTimeout: within, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, r.Method, " ", r.Host, " ", r.URL, " ", r.Header.Get("X-Who"))
		if r.TLS != nil {
			fmt.Fprint(w, " ", r.TLS.ServerName, " ", r.TLS.NegotiatedProtocol)
			for _, c := range r.TLS.PeerCertificates {
				fmt.Fprint(w, " ", c.URIs[0], " by ", c.Issuer.CommonName)
			}
		}
		_, _ = io.WriteString(w, strings.Repeat(".", 2*maxBody))
	})}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(l) }()
	s.t.Cleanup(func() { server.Close(); <-served })
	return at
}

func (s *sham) try(ctx context.Context, to netip.AddrPort, wrap *TLS) Answer {
	s.t.Helper()
	a, err := Try(ctx, s.pid, Probe{Namespace: "strange", Pod: "stranger", To: to, Host: "vehicle.fleet", Path: "/v1?a=1", Headers: map[string]string{"X-Who": "gateway"}, TLS: wrap})
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

func TestAnswered(t *testing.T) {
	s := newSham(t)
	a := s.try(t.Context(), s.web(nil), nil)
	if a.Status != http.StatusForbidden || !strings.HasPrefix(a.Body, "GET vehicle.fleet /v1?a=1 gateway.") || len(a.Body) > maxBody || a.Refused != "" {
		t.Errorf("answer %+v", a)
	}
	if a.From.Addr() != netip.MustParseAddr("127.0.0.1") || a.From.Port() == 0 || a.At.IsZero() {
		t.Errorf("from %s at %s", a.From, a.At)
	}
}

func TestRefused(t *testing.T) {
	s := newSham(t)
	asked := func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1<<10)) }
	brief, cancel := context.WithCancel(t.Context())
	defer cancel()
	for want, test := range map[string]struct {
		ctx context.Context
		to  netip.AddrPort
	}{
		Closed: {t.Context(), s.serve(asked)},
		Reset: {t.Context(), s.serve(func(conn net.Conn) {
			asked(conn)
			_ = conn.(*net.TCPConn).SetLinger(0)
		})},
		Timeout:        {brief, s.serve(func(conn net.Conn) { asked(conn); cancel(); _, _ = io.Copy(io.Discard, conn) })},
		Malformed:      {t.Context(), s.serve(func(conn net.Conn) { asked(conn); _, _ = io.WriteString(conn, "SSH-2.0\r\n\r\n") })},
		ConnectRefused: {t.Context(), netip.MustParseAddrPort("127.0.0.1:1")},
		ConnectFailed:  {t.Context(), netip.MustParseAddrPort("192.0.2.1:80")}, // no way there
	} {
		if a := s.try(test.ctx, test.to, nil); a.Refused != want || a.Status != 0 || a.Detail == "" {
			t.Errorf("want %s, got %+v", want, a)
		}
	}
}

const gateway = "spiffe://cluster.local/ns/aks-istio-ingress/sa/gateway"

// A door that asks for a certificate of its own authority shuts on a stranger's,
// whatever name is in it, and on none.
func TestStranger(t *testing.T) {
	s := newSham(t)
	authority, err := pki.New("the mesh")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Issue(pki.Subject{Name: "web", Hosts: []string{"web"}})
	if err != nil {
		t.Fatal(err)
	}
	own, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	known := x509.NewCertPool()
	known.AppendCertsFromPEM(authority.PEM)
	config := &tls.Config{Certificates: []tls.Certificate{own}, NextProtos: []string{"http/1.1"}, ClientCAs: known, ClientAuth: tls.RequireAndVerifyClientCert}
	strict := s.web(config)
	lax := config.Clone()
	lax.ClientAuth = tls.RequestClientCert
	for identity, want := range map[string]string{gateway: "unknown certificate authority", "": "certificate required"} {
		a := s.try(t.Context(), strict, &TLS{Identity: identity, ALPN: []string{"istio", "http/1.1"}})
		if a.Refused != Alert || !strings.Contains(a.Detail, want) {
			t.Errorf("identity %q: %+v", identity, a)
		}
	}
	a := s.try(t.Context(), s.web(lax), &TLS{Identity: gateway, ServerName: "web", ALPN: []string{"istio", "http/1.1"}})
	if !strings.Contains(a.Body, "gateway web http/1.1 "+gateway+" by a stranger.") {
		t.Errorf("who asks for no proof is shown %.200q", a.Body)
	}
}

func TestValidate(t *testing.T) {
	good := Probe{Namespace: "strange", Pod: "stranger", To: netip.MustParseAddrPort("10.0.0.1:80"), Path: "/"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Probe){
		"it has no name":            func(p *Probe) { p.Pod = "" },
		"no IPv4 address with":      func(p *Probe) { p.To = netip.MustParseAddrPort("[::1]:80") },
		`"10.0.0.1:0" is no`:        func(p *Probe) { p.To = netip.MustParseAddrPort("10.0.0.1:0") },
		"want one that begins with": func(p *Probe) { p.Path = "v1" },
		"header A has more than":    func(p *Probe) { p.Headers = map[string]string{"A": strings.Repeat("x", maxText)} },
		"that is too long":          func(p *Probe) { p.TLS = &TLS{Identity: strings.Repeat("x", maxText+1)} },
	} {
		p := good
		change(&p)
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := Try(t.Context(), 1, Probe{}); err == nil {
		t.Error("a probe from nowhere was tried")
	}
}
