package balancer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/nines-ha/nines/internal/namespace"
)

const (
	port      = 80
	probePort = 10256
	patience  = 10 * time.Second // for a condition that must come true
)

var frontend = netip.MustParseAddr("20.0.0.1")

// A region is a client, a router and machines behind its bridge, each in a
// namespace of its own.
//
//	client 10.9.0.2 ── 10.9.0.1 router 10.0.0.1 ── br0 ── machine n at 10.0.0.1n
//
// With zones, machine z.n at 10.0.z.1n is behind a router of its zone:
//
//	router 10.1.z.1 ── uplink 10.1.z.2 zone 10.0.z.1 ── br0 ── machine
type region struct {
	t        testing.TB
	client   *namespace.Set
	router   *namespace.Set
	zones    map[string]Zone
	machines []*machine
}

type machine struct {
	Backend
	set    *namespace.Set
	behind *namespace.Set // the router with the machine's cable
	veth   string         // the router's end

	mu     sync.Mutex
	health int
	conns  map[net.Conn]bool
}

func newRegion(t testing.TB, count int) *region {
	t.Helper()
	r := bareRegion(t)
	r.bridge(r.router, "10.0.0.1/24")
	for i := range count {
		backend := Backend{Node: fmt.Sprintf("node-%d", i), Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(10 + i)})}
		r.addMachine(r.router, backend, "10.0.0.1")
	}
	return r
}

func newZonedRegion(t testing.TB, zones, perZone int) *region {
	t.Helper()
	r := bareRegion(t)
	r.zones = map[string]Zone{}
	router := at(t, r.router)
	for z := 1; z <= zones; z++ {
		name := fmt.Sprintf("region-%d", z)
		zone := newNet(t)
		link := fmt.Sprintf("zone%d", z)
		connect(t, r.router, link, zone, "uplink")
		address(t, router, link, fmt.Sprintf("10.1.%d.1/24", z))
		h := at(t, zone)
		address(t, h, "uplink", fmt.Sprintf("10.1.%d.2/24", z))
		gateway(t, h, fmt.Sprintf("10.1.%d.1", z))
		gw := fmt.Sprintf("10.0.%d.1", z)
		r.bridge(zone, gw+"/24")
		must(t, router.RouteAdd(&netlink.Route{
			Dst: &net.IPNet{IP: net.IPv4(10, 0, byte(z), 0), Mask: net.CIDRMask(24, 32)},
			Gw:  net.IPv4(10, 1, byte(z), 2),
		}))
		r.zones[name] = Zone{Router: zone, Uplink: "uplink", Link: link}
		for n := range perZone {
			r.addMachine(zone, Backend{
				Node: fmt.Sprintf("node-%d-%d", z, n), Address: netip.AddrFrom4([4]byte{10, 0, byte(z), byte(10 + n)}), Zone: name,
			}, gw)
		}
	}
	return r
}

func bareRegion(t testing.TB) *region {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("nft is not installed")
	}
	r := &region{t: t, client: newNet(t), router: newNet(t)}
	router := at(t, r.router)
	address(t, router, "lo", "168.63.129.16/32")
	connect(t, r.router, "up", r.client, "eth0")
	address(t, router, "up", "10.9.0.1/24")
	client := at(t, r.client)
	address(t, client, "eth0", "10.9.0.2/24")
	gateway(t, client, "10.9.0.1")
	return r
}

func (r *region) bridge(router *namespace.Set, cidr string) {
	h := at(r.t, router)
	must(r.t, h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs("br0")}))
	address(r.t, h, "br0", cidr)
}

func (r *region) addMachine(behind *namespace.Set, backend Backend, gw string) {
	t := r.t
	m := &machine{
		Backend: backend, set: newNet(t), behind: behind, veth: "m" + strconv.Itoa(len(r.machines)),
		health: http.StatusOK, conns: map[net.Conn]bool{},
	}
	connect(t, behind, m.veth, m.set, "eth0")
	router := at(t, behind)
	link, err := router.LinkByName(m.veth)
	must(t, err)
	bridge, err := router.LinkByName("br0")
	must(t, err)
	must(t, router.LinkSetMaster(link, bridge))
	h := at(t, m.set)
	address(t, h, "eth0", m.Address.String()+"/24")
	address(t, h, "lo", frontend.String()+"/32")
	gateway(t, h, gw)
	m.serve(t)
	r.machines = append(r.machines, m)
}

func (r *region) open(cfg Config) *Plane {
	r.t.Helper()
	cfg.Router, cfg.Zones = r.router, r.zones
	cfg.Source = netip.MustParseAddr("168.63.129.16")
	p, err := Open(cfg)
	must(r.t, err)
	r.t.Cleanup(func() {
		if err := p.Close(); err != nil {
			r.t.Error(err)
		}
	})
	return p
}

func (r *region) backends() []Backend {
	var backends []Backend
	for _, m := range r.machines {
		backends = append(backends, m.Backend)
	}
	return backends
}

// ask opens a new flow and returns who answered.
func (r *region) ask(timeout time.Duration) (string, error) {
	conn, err := r.dial(timeout)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return conn.ask(timeout)
}

func (r *region) dial(timeout time.Duration) (*flow, error) { return r.dialTo(frontend, timeout) }

func (r *region) dialTo(where netip.Addr, timeout time.Duration) (*flow, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := r.client.Dial(ctx, "tcp", netip.AddrPortFrom(where, port).String())
	if err != nil {
		return nil, err
	}
	return &flow{conn, bufio.NewReader(conn)}, nil
}

type flow struct {
	net.Conn
	lines *bufio.Reader
}

func (f *flow) ask(timeout time.Duration) (string, error) {
	if err := f.SetDeadline(time.Now().Add(timeout)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(f, "who\n"); err != nil {
		return "", err
	}
	line, err := f.lines.ReadString('\n')
	return strings.TrimSpace(line), err
}

// serve answers every line on the frontend with the machine's name, over TCP
// and UDP, and probes with the machine's health.
func (m *machine) serve(t testing.TB) {
	where := netip.AddrPortFrom(frontend, port).String()
	l, err := m.set.Listen("tcp", where)
	must(t, err)
	var packets net.PacketConn
	must(t, m.set.Do(func() (err error) { packets, err = net.ListenPacket("udp", where); return err }))
	probes, err := m.set.Listen("tcp", netip.AddrPortFrom(m.Address, probePort).String())
	must(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		from, _, _ := net.SplitHostPort(req.RemoteAddr)
		m.mu.Lock()
		defer m.mu.Unlock()
		if from != "168.63.129.16" || req.URL.Path != "/healthz" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.WriteHeader(m.health)
	})}
	var wg sync.WaitGroup
	wg.Go(func() { server.Serve(probes) })
	wg.Go(func() {
		buffer := make([]byte, 64)
		for {
			_, from, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			packets.WriteTo([]byte(m.Node), from)
		}
	})
	wg.Go(func() { m.accept(l) })
	t.Cleanup(func() {
		l.Close()
		packets.Close()
		server.Close()
		m.mu.Lock()
		for conn := range m.conns {
			conn.Close()
		}
		m.mu.Unlock()
		wg.Wait()
	})
}

// accept answers until the listener closes, and then waits for its flows.
func (m *machine) accept(l net.Listener) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		m.mu.Lock()
		m.conns[conn] = true
		m.mu.Unlock()
		wg.Go(func() {
			defer conn.Close()
			lines := bufio.NewScanner(conn)
			for lines.Scan() {
				fmt.Fprintln(conn, m.Node)
			}
		})
	}
}

func (m *machine) setHealth(status int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.health = status
}

// cut takes the machine's cable out of the router.
func (r *region) cut(m *machine) {
	h := at(r.t, m.behind)
	link, err := h.LinkByName(m.veth)
	must(r.t, err)
	must(r.t, h.LinkSetDown(link))
}

func (r *region) run(args ...string) string {
	r.t.Helper()
	return r.runIn(r.router, args...)
}

func (r *region) runIn(where *namespace.Set, args ...string) string {
	r.t.Helper()
	var out []byte
	must(r.t, where.Do(func() (err error) {
		out, err = exec.Command(args[0], args[1:]...).CombinedOutput()
		return err
	}))
	return string(out)
}

func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", patience, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func newNet(t testing.TB) *namespace.Set {
	t.Helper()
	set, err := namespace.NewNet()
	must(t, err)
	t.Cleanup(set.Close)
	h := at(t, set)
	lo, err := h.LinkByName("lo")
	must(t, err)
	must(t, h.LinkSetUp(lo))
	return set
}

func at(t testing.TB, set *namespace.Set) *netlink.Handle {
	t.Helper()
	h, err := netlink.NewHandleAt(netns.NsHandle(set.Net.Fd()), unix.NETLINK_ROUTE)
	must(t, err)
	t.Cleanup(h.Close)
	return h
}

func connect(t testing.TB, a *namespace.Set, nameA string, b *namespace.Set, nameB string) {
	t.Helper()
	ha, hb := at(t, a), at(t, b)
	veth := &netlink.Veth{LinkAttrs: attrs(nameA), PeerName: nameB, PeerNamespace: netlink.NsFd(b.Net.Fd())}
	must(t, ha.LinkAdd(veth))
	for h, name := range map[*netlink.Handle]string{ha: nameA, hb: nameB} {
		link, err := h.LinkByName(name)
		must(t, err)
		must(t, h.LinkSetUp(link))
	}
}

func attrs(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return a
}

func address(t testing.TB, h *netlink.Handle, link, cidr string) {
	t.Helper()
	l, err := h.LinkByName(link)
	must(t, err)
	a, err := netlink.ParseAddr(cidr)
	must(t, err)
	must(t, h.AddrAdd(l, a))
	must(t, h.LinkSetUp(l))
}

func gateway(t testing.TB, h *netlink.Handle, via string) {
	t.Helper()
	must(t, h.RouteAdd(&netlink.Route{Dst: everywhere(), Gw: net.ParseIP(via)}))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
