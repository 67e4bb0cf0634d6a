package world

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nines-ha/nines/ground/network"
)

// Networks is the path of the control socket that hands out two descriptors with
// its answer, of network namespaces: outside all regions, and the backbone. A
// descriptor is sounder than a path below /proc, whose process may be another
// one by the time it is opened.
const Networks = "/networks"

// Switched begins the answer that carries the descriptors.
const Switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: descriptors\r\n\r\n"

// Client is the address of client k, counted from 0, in the network outside.
func Client(k int) (netip.Addr, error) { return network.Client(k) }

func (w *World) handNetworks(rw http.ResponseWriter, _ *http.Request) {
	fabric := w.fabric.Load()
	if fabric == nil {
		http.Error(rw, "the network is not there yet", http.StatusServiceUnavailable)
		return
	}
	conn, _, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	if err := hand(conn, fabric); err != nil {
		w.log.Error("hand networks out", "error", err)
	}
}

func hand(conn net.Conn, fabric *network.Fabric) error {
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return errors.New("not a unix socket")
	}
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	rights := unix.UnixRights(int(fabric.Outside().Net.Fd()), int(fabric.Backbone().Net.Fd()))
	if _, _, err := c.WriteMsgUnix([]byte(Switched), rights, nil); err != nil {
		return fmt.Errorf("send descriptors: %w", err)
	}
	return nil
}
