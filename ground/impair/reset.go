package impair

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nines-ha/nines/internal/namespace"
)

// Of a socket, in the kernel's numbers.
const (
	established = 1
	closeWait   = 8
)

// reset ends every connection to a port that is not the proxy's: one that was
// kept alive would go on past the proxy. Both ends hear of it at once. A kernel
// without the means leaves it to the rules, which refuse the next packet.
func reset(pod *namespace.Set, port uint16) error {
	return pod.Do(func() error {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} { // of a service that listens for both, the second
			sockets, err := netlink.SocketDiagTCP(family)
			if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
				return fmt.Errorf("list connections: %w", err)
			}
			for _, s := range sockets {
				id := s.ID
				if id.SourcePort != port || s.State != established && s.State != closeWait || id.Destination.Equal(net.IP(source.AsSlice())) {
					continue
				}
				err := netlink.SocketDestroy(
					&net.TCPAddr{IP: id.Source, Port: int(id.SourcePort)}, &net.TCPAddr{IP: id.Destination, Port: int(id.DestinationPort)})
				switch {
				case err == nil, errors.Is(err, unix.ENOENT): // it ended meanwhile
				case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, netlink.ErrNotImplemented):
				default:
					return fmt.Errorf("reset the connection from %s: %w", id.Destination, err)
				}
			}
		}
		return nil
	})
}
