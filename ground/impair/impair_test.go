package impair

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/nines-ha/nines/internal/namespace"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == StageName {
		if Stage() != nil {
			os.Exit(2)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

const (
	port      = 8080
	probePort = 8081
	patience  = 10 * time.Second
)

var (
	podAddress    = netip.MustParseAddr("10.7.0.2")
	clientAddress = netip.MustParseAddr("10.7.0.1")
)

// sham is a pod: a process that holds a network namespace, a service in it, and a
// neighbour who asks.
//
//	client 10.7.0.1 ── 10.7.0.2 pod
type sham struct {
	t      *testing.T
	holder *exec.Cmd
	pod    *namespace.Set
	client *namespace.Set

	mu    sync.Mutex
	asked []*http.Request
}

func newSham(t *testing.T) *sham {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	s := &sham{t: t, holder: exec.Command("cat")}
	s.holder.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	hold, err := s.holder.StdinPipe() // it ends with this process
	if err != nil {
		t.Fatal(err)
	}
	if err := s.holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hold.Close() })
	t.Cleanup(s.endPod)
	if s.pod, err = namespace.NetOf(s.holder.Process.Pid); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.pod.Close)
	if s.client, err = namespace.NewNet(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.Close)
	link(t, s.client, s.pod)
	s.serve(port, http.HandlerFunc(s.answer))
	s.serve(probePort, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "well") }))
	return s
}

func (s *sham) endPod() { _ = s.holder.Process.Kill(); _ = s.holder.Wait() }

// link joins two namespaces by a cable.
func link(t *testing.T, client, pod *namespace.Set) {
	t.Helper()
	inClient, inPod := handle(t, client), handle(t, pod)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "cable"
	err := inClient.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(pod.Net.Fd())})
	if err != nil {
		t.Fatal(err)
	}
	for _, end := range []struct {
		h       *netlink.Handle
		name    string
		address netip.Addr
	}{{inClient, "cable", clientAddress}, {inPod, "eth0", podAddress}} {
		for _, name := range []string{"lo", end.name} {
			l, err := end.h.LinkByName(name)
			if err == nil && name != "lo" {
				err = end.h.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: end.address.AsSlice(), Mask: net.CIDRMask(24, 32)}})
			}
			if err == nil {
				err = end.h.LinkSetUp(l)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func handle(t *testing.T, set *namespace.Set) *netlink.Handle {
	t.Helper()
	h, err := netlink.NewHandleAt(netns.NsHandle(set.Net.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func (s *sham) serve(port int, handler http.Handler) {
	s.t.Helper()
	// As a service in Go does: one socket for both kinds of addresses.
	l, err := s.pod.Listen("tcp", (&net.TCPAddr{Port: port}).String())
	if err != nil {
		s.t.Fatal(err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: patience}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(l) }()
	s.t.Cleanup(func() { server.Close(); <-served })
}

func (s *sham) answer(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.asked = append(s.asked, r)
	s.mu.Unlock()
	w.Header().Set("X-Served-By-Pod", "web-1")
	_, _ = io.WriteString(w, "hello "+string(body))
}

func (s *sham) seen() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*http.Request(nil), s.asked...)
}

// browser is a client with connections of its own.
func (s *sham) browser(from *namespace.Set) *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return from.Dial(ctx, "tcp4", address)
	}}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

type result struct {
	status int
	body   string
	pod    string
	took   time.Duration
}

func ask(t *testing.T, c *http.Client, url string) result {
	t.Helper()
	r, err := try(c, url)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func try(c *http.Client, url string) (result, error) {
	began := time.Now()
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader("you"))
	if err != nil {
		return result{}, err
	}
	req.Host = "vehicle.example"
	req.Header.Set("X-Forwarded-For", "192.0.2.7")
	resp, err := c.Do(req)
	if err != nil {
		return result{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return result{resp.StatusCode, string(body), resp.Header.Get("X-Served-By-Pod"), time.Since(began)}, err
}

func (s *sham) impair(what Impairment) *Pod {
	s.t.Helper()
	what.Namespace, what.Pod = "fleet", "web-1"
	p, err := Start(s.t.Context(), s.holder.Process.Pid, what, os.Stderr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = p.Stop(context.Background()) })
	return p
}

func (s *sham) mend(p *Pod) {
	s.t.Helper()
	for range 2 {
		if err := p.Stop(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
	}
	if rules := s.rules(); rules != "" {
		s.t.Errorf("rules are left:\n%s", rules)
	}
}

func (s *sham) rules() (text string) {
	err := s.pod.Do(func() error {
		out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
		text = strings.TrimSpace(string(out))
		return err
	})
	if err != nil {
		s.t.Fatal(err, text)
	}
	return text
}

const (
	service = "http://10.7.0.2:8080/v1/signals?a=1;b"
	probe   = "http://10.7.0.2:8081/readyz"
)

func TestErrors(t *testing.T) {
	s := newSham(t)
	p := s.impair(Impairment{Port: port, Errors: 0.5, Status: 503, Headers: map[string]string{"X-Served-By-Pod": "web-1"}})
	c := s.browser(s.client)
	const n = 200
	failed := 0
	for range n {
		switch r := ask(t, c, service); {
		case r.status == 503 && r.pod == "web-1":
			failed++
		case r.status != 200 || r.body != "hello you" || r.pod != "web-1":
			t.Fatalf("answer %+v", r)
		}
	}
	if failed < n/2-42 || failed > n/2+42 { // six standard deviations
		t.Errorf("%d of %d failed", failed, n)
	}
	asked := s.seen()
	if len(asked) != n-failed {
		t.Errorf("the service was asked %d times, and gave %d answers", len(asked), n-failed)
	}
	for _, r := range asked {
		if r.Host != "vehicle.example" || r.URL.RawQuery != "a=1;b" || len(r.Header["X-Forwarded-For"]) != 1 || r.Header.Get("X-Forwarded-For") != "192.0.2.7" || r.Header.Get("Accept-Encoding") != "gzip" {
			t.Fatalf("the service was asked for %s of %s with %v", r.URL, r.Host, r.Header)
		}
	}
	if r := ask(t, c, probe); r.status != 200 || r.body != "well" {
		t.Errorf("the probe says %+v", r)
	}
	for deadline := time.Now().Add(patience); p.Status().Requests != n; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d requests are counted: %+v", n, p.Status())
		}
	}
	if st := p.Status(); st.Last.Before(st.Since) || st.Trouble != "" {
		t.Errorf("status %+v", st)
	}
	s.mend(p)
	for range 20 {
		if r := ask(t, c, service); r.status != 200 {
			t.Fatalf("mended, it answers %+v", r)
		}
	}
}

func TestDelay(t *testing.T) {
	s := newSham(t)
	p := s.impair(Impairment{Port: port, Delay: 300 * time.Millisecond})
	c := s.browser(s.client)
	for range 2 {
		if r := ask(t, c, service); r.status != 200 || r.took < 300*time.Millisecond {
			t.Errorf("answer %+v", r)
		}
	}
	if r := ask(t, c, probe); r.took > 300*time.Millisecond {
		t.Errorf("the probe took %s", r.took)
	}
	s.mend(p)
	if r := ask(t, c, service); r.status != 200 {
		t.Errorf("mended, it answers %+v", r)
	}
}

// Who waits when the pod is mended waits no longer, and gets its answer.
func TestMendCutsDelayShort(t *testing.T) {
	s := newSham(t)
	p := s.impair(Impairment{Port: port, Delay: time.Minute})
	answered := make(chan error, 1)
	c := s.browser(s.client)
	go func() {
		r, err := try(c, service)
		if err == nil && r.status != 200 {
			err = errors.New(r.body)
		}
		answered <- err
	}()
	for deadline := time.Now().Add(patience); len(s.seen()) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the service was not asked")
		}
	}
	s.mend(p)
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// A connection from before does not go on past the proxy, not even an idle one.
func TestConnectionsFromBeforeAreReset(t *testing.T) {
	s := newSham(t)
	for _, from := range []*namespace.Set{s.client, s.pod} {
		conn, err := from.Dial(t.Context(), "tcp4", "10.7.0.2:8080")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		exchange := func() error {
			_ = conn.SetDeadline(time.Now().Add(patience))
			if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
				return err
			}
			_, err := conn.Read(make([]byte, 1<<10))
			return err
		}
		if err := exchange(); err != nil {
			t.Fatal(err)
		}
		p := s.impair(Impairment{Port: port, Errors: 1, Status: 500})
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read %d bytes, %v", n, err)
		}
		if r := ask(t, s.browser(from), service); r.status != 500 {
			t.Errorf("a new connection gets %+v", r)
		}
		s.mend(p)
	}
}

// What the rules alone do where the kernel cannot end a connection.
func TestRulesRefuseConnectionsFromBefore(t *testing.T) {
	s := newSham(t)
	conn, err := s.client.Dial(t.Context(), "tcp4", "10.7.0.2:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := load(t.Context(), s.pod, ruleset(Impairment{Port: port}, 1)); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("error = %v", err)
	}
}

// With a sidecar, as Istio's rules have it: what comes from outside is the
// sidecar's, and what the sidecar sends to the service is impaired.
func TestBehindSidecar(t *testing.T) {
	s := newSham(t)
	const rules = `add table ip istio
add chain ip istio inbound { type nat hook prerouting priority dstnat; policy accept; }
add rule ip istio inbound tcp dport 8080 redirect to :15006
add chain ip istio outbound { type nat hook output priority -100; policy accept; }
add rule ip istio outbound oif lo ip saddr 127.0.0.6 return
add rule ip istio outbound oif lo return
`
	if err := load(t.Context(), s.pod, rules); err != nil {
		t.Fatal(err)
	}
	inner := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var conn net.Conn
		err := s.pod.Do(func() (err error) {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 6)}}
			conn, err = d.DialContext(ctx, "tcp4", "10.7.0.2:8080")
			return err
		})
		return conn, err
	}}
	t.Cleanup(inner.CloseIdleConnections)
	s.serve(15006, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Scheme, r.URL.Host = "http", r.Host
		resp, err := inner.RoundTrip(r)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		w.Header().Set("Sidecar", "yes")
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))
	c := s.browser(s.client)
	if r := ask(t, c, service); r.status != 200 || r.body != "hello you" {
		t.Fatalf("well, it answers %+v", r)
	}
	p := s.impair(Impairment{Port: port, Errors: 1, Status: 503})
	// The sidecar, whose connections to the service were reset, may see that once.
	inner.CloseIdleConnections()
	for range 5 {
		resp, err := c.Post(service, "", strings.NewReader("you"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 503 || resp.Header.Get("Sidecar") != "yes" {
			t.Errorf("it answers %d, sidecar %q", resp.StatusCode, resp.Header.Get("Sidecar"))
		}
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rules := s.rules(); strings.Contains(rules, "nines") || !strings.Contains(rules, "15006") {
		t.Errorf("rules afterwards:\n%s", rules)
	}
	if r := ask(t, c, service); r.status != 200 {
		t.Errorf("mended, it answers %+v", r)
	}
}

func TestDrop(t *testing.T) {
	s := newSham(t)
	l, err := s.client.Listen("tcp4", "10.7.0.1:5432")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dial := func(within time.Duration) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		return s.pod.Dial(ctx, "tcp4", "10.7.0.1:5432")
	}
	conn, err := dial(patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	for _, to := range []string{"10.7.0.1:5432", "10.7.0.1:0"} {
		p := s.impair(Impairment{Port: port, Drop: []netip.AddrPort{netip.MustParseAddrPort(to)}})
		var slow net.Error
		if c, err := dial(300 * time.Millisecond); !errors.As(err, &slow) || !slow.Timeout() {
			if c != nil {
				c.Close()
			}
			t.Errorf("%s: dialling gives %v", to, err)
		}
		if _, err := io.WriteString(conn, "x"); err != nil {
			t.Errorf("%s: a connection from before gives %v", to, err)
		}
		_ = peer.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if n, err := peer.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %d bytes arrived, %v", to, n, err)
		}
		if strings.HasSuffix(to, ":5432") { // otherwise its answers are lost too
			if r := ask(t, s.browser(s.client), service); r.status != 200 {
				t.Errorf("it answers %+v", r)
			}
		}
		s.mend(p)
		_ = peer.SetReadDeadline(time.Now().Add(patience))
		if _, err := peer.Read(make([]byte, 1)); err != nil {
			t.Errorf("%s: mended, nothing arrives: %v", to, err)
		}
	}
}

// An impairment must not outlive its pod, whose network it would keep.
func TestPodEnds(t *testing.T) {
	s := newSham(t)
	p := s.impair(Impairment{Port: port, Errors: 1, Status: 503})
	s.endPod()
	select {
	case <-p.Over():
	case <-time.After(patience):
		t.Fatal("it does not notice")
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// A proxy that ends by itself leaves a pod that refuses, and says so.
func TestProxyEnds(t *testing.T) {
	s := newSham(t)
	p := s.impair(Impairment{Port: port, Errors: 1, Status: 503})
	_ = p.proxy.Process.Kill()
	<-p.ended
	if st := p.Status(); st.Trouble == "" {
		t.Errorf("status %+v", st)
	}
	if _, err := try(s.browser(s.client), service); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("error = %v", err)
	}
	s.mend(p)
	if r := ask(t, s.browser(s.client), service); r.status != 200 {
		t.Errorf("mended, it answers %+v", r)
	}
}

func TestStartFails(t *testing.T) {
	what := Impairment{Namespace: "fleet", Pod: "web-1", Port: port}
	if _, err := Start(t.Context(), 1<<30, what, nil); err == nil || !strings.Contains(err.Error(), "impair pod fleet/web-1") {
		t.Errorf("no process: %v", err)
	}
	s := newSham(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, s.holder.Process.Pid, what, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("too late: %v", err)
	}
	if rules := s.rules(); rules != "" {
		t.Errorf("rules are left:\n%s", rules)
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		what Impairment
		want string
	}{
		{Impairment{Port: 80, Errors: 0.5, Status: 503}, ""},
		{Impairment{Port: 80}, ""}, // requests are counted
		{Impairment{Drop: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:0")}}, ""},
		{Impairment{}, "nothing is to be wrong"},
		{Impairment{Delay: time.Second}, "none is given"},
		{Impairment{Port: 80, AtOnce: 2, Delay: time.Second}, ""},
		{Impairment{Port: 80, AtOnce: 2}, "how long each takes"},
		{Impairment{Port: 80, AtOnce: -1, Delay: time.Second}, "-1 requests at once"},
		{Impairment{Port: 80, Errors: 1.5, Status: 503}, "want 0 to 1"},
		{Impairment{Port: 80, Errors: 1, Status: 200}, "no error"},
		{Impairment{Port: 80, Delay: time.Hour}, "a delay of 1h"},
		{Impairment{Drop: []netip.AddrPort{netip.MustParseAddrPort("[::1]:1")}}, "no IPv4 address"},
	} {
		test.what.Namespace, test.what.Pod = "fleet", "web-1"
		err := test.what.Validate()
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%+v: %v, want %q", test.what, err, test.want)
		}
	}
	if (Impairment{Port: 80}).Validate() == nil {
		t.Error("a pod without a name is impaired")
	}
}
