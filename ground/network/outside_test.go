package network

import (
	"context"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/nines-ha/nines/internal/namespace"
)

func TestClientsHaveAddressesOfTheirOwn(t *testing.T) {
	seen := map[netip.Addr]bool{}
	for k := range MaxClients {
		a, err := Client(k)
		if err != nil || !Clients().Contains(a) || seen[a] {
			t.Fatalf("client %d: %v, %v", k, a, err)
		}
		seen[a] = true
	}
	for _, k := range []int{-1, MaxClients} {
		if a, err := Client(k); err == nil {
			t.Errorf("client %d is %s", k, a)
		}
	}
}

// A region sees each client's own address, and its answer finds the way back.
func TestOutsideReachesARegion(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	backbone, err := namespace.NewNet()
	if err != nil {
		t.Fatal(err)
	}
	defer backbone.Close()
	var f *Fabric
	var r *Region
	err = backbone.Do(func() (err error) {
		if f, err = New(); err != nil {
			return err
		}
		if err = f.AddOutside(); err != nil {
			return err
		}
		r, err = f.AddRegion(Plan{Index: 3}, 1)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := r.Router().Listen("tcp4", net.JoinHostPort(r.Plan.Registry().String(), "80"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d, err := namespace.OpenDialer(f.Outside())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, k := range []int{0, 300, MaxClients - 1} {
		from, _ := Client(k)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		conn, err := d.Dial(ctx, from, netip.MustParseAddrPort(l.Addr().String()))
		cancel()
		if err != nil {
			t.Fatalf("client %d: %v", k, err)
		}
		peer, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got := peer.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); got != from {
			t.Errorf("client %d at %s is seen as %s", k, from, got)
		}
		conn.Close()
		peer.Close()
	}
}
