package namespace

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// loopback is a namespace whose lo is up; it has all of 127.0.0.0/8.
func loopback(t testing.TB) *Set {
	t.Helper()
	set, err := NewNet()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Close)
	h, err := netlink.NewHandleAt(netns.NsHandle(set.Net.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err == nil {
		err = h.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func newDialer(t testing.TB, set *Set) *Dialer {
	t.Helper()
	d, err := OpenDialer(set)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func TestDialerBindsInsideTheNamespace(t *testing.T) {
	needRoot(t)
	set := loopback(t)
	l, err := set.Listen("tcp4", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := newDialer(t, set)
	for _, from := range []string{"127.1.2.3", "127.4.5.6"} {
		conn, err := d.Dial(t.Context(), netip.MustParseAddr(from), netip.MustParseAddrPort("127.0.0.1:80"))
		if err != nil {
			t.Fatal(err)
		}
		peer, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if host, _, _ := net.SplitHostPort(peer.RemoteAddr().String()); host != from {
			t.Errorf("the listener sees %s, want %s", host, from)
		}
		if _, ok := conn.(*net.TCPConn); !ok {
			t.Errorf("the connection is a %T", conn)
		}
		go func() { _, _ = io.WriteString(peer, "hello"); peer.Close() }()
		if answer, err := io.ReadAll(conn); err != nil || string(answer) != "hello" {
			t.Errorf("read %q, %v", answer, err)
		}
		conn.Close()
	}
}

func TestDialerSaysWhatWentWrong(t *testing.T) {
	needRoot(t)
	set := loopback(t)
	d := newDialer(t, set)
	_, err := d.Dial(t.Context(), netip.MustParseAddr("127.0.0.2"), netip.MustParseAddrPort("127.0.0.1:82"))
	var op *net.OpError
	if !errors.Is(err, syscall.ECONNREFUSED) || !errors.As(err, &op) || op.Op != "dial" {
		t.Errorf("nobody listens: %v", err)
	}
	if _, err = d.Dial(t.Context(), netip.MustParseAddr("10.1.1.1"), netip.MustParseAddrPort("127.0.0.1:81")); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("from an address that is not there: %v", err)
	}

	silence(t, set)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	from, lost := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddrPort("192.0.2.2:80")
	_, err = d.Dial(ctx, from, lost)
	var slow net.Error
	if !errors.As(err, &slow) || !slow.Timeout() {
		t.Errorf("nobody answers: %v", err)
	}
	ctx, give := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, give)
	if _, err = d.Dial(ctx, from, lost); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}

// silence adds a neighbour 192.0.2.2 that loses every packet.
func silence(t *testing.T, set *Set) {
	t.Helper()
	h, err := netlink.NewHandleAt(netns.NsHandle(set.Net.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "lost"
	err = h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "peer"})
	for _, name := range []string{"lost", "peer"} {
		var l netlink.Link
		if err == nil {
			l, err = h.LinkByName(name)
		}
		if err == nil {
			err = h.LinkSetUp(l)
		}
		if err == nil && name == "lost" {
			err = errors.Join(
				h.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(192, 0, 2, 1), Mask: net.CIDRMask(24, 32)}}),
				h.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.IPv4(192, 0, 2, 2), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 9}}))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func BenchmarkDial(b *testing.B) {
	set := loopback(b)
	l, err := set.Listen("tcp4", "127.0.0.1:80")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, c); c.Close() }()
		}
	}()
	end := func(c net.Conn) {
		_ = c.(*net.TCPConn).SetLinger(0) // leave no port waiting
		c.Close()
	}
	b.Run("thread a call", func(b *testing.B) {
		for b.Loop() {
			c, err := set.Dial(b.Context(), "tcp4", "127.0.0.1:80")
			if err != nil {
				b.Fatal(err)
			}
			end(c)
		}
	})
	b.Run("one thread", func(b *testing.B) {
		d := newDialer(b, set)
		from, to := netip.MustParseAddr("127.0.0.2"), netip.MustParseAddrPort("127.0.0.1:80")
		for b.Loop() {
			c, err := d.Dial(b.Context(), from, to)
			if err != nil {
				b.Fatal(err)
			}
			end(c)
		}
	})
}
