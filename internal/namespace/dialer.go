package namespace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A Dialer opens many TCP connections from inside one network namespace, each
// from an address of its own. One thread stays inside and makes the sockets;
// connecting waits on no thread, so that thousands may wait at once.
type Dialer struct {
	asked chan chan<- made
	stop  chan struct{}
	done  chan struct{}
}

type made struct {
	socket int
	err    error
}

// OpenDialer starts the thread, which ends with Close. set may be closed when it
// has returned.
func OpenDialer(set *Set) (*Dialer, error) {
	d := &Dialer{asked: make(chan chan<- made), stop: make(chan struct{}), done: make(chan struct{})}
	entered := make(chan error, 1)
	go func() {
		defer close(d.done)
		_ = Thread(func() error {
			err := set.Enter()
			entered <- err
			if err == nil {
				d.serve()
			}
			return err
		})
	}()
	if err := <-entered; err != nil {
		<-d.done
		return nil, err
	}
	return d, nil
}

func (d *Dialer) serve() {
	for {
		select {
		case <-d.stop:
			return
		case answer := <-d.asked:
			var m made
			m.socket, m.err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
			answer <- m
		}
	}
}

// Close ends the thread. Connections live on. It must be called once.
func (d *Dialer) Close() {
	close(d.stop)
	<-d.done
}

// Dial connects from an address of the namespace to another one. Its errors are
// those of net.Dialer: a *net.OpError, a timeout when ctx ran out. Its Source has
// the port, where there was one.
func (d *Dialer) Dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	source := &net.TCPAddr{IP: from.AsSlice()}
	conn, err := d.dial(ctx, from, to, source)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = ctx.Err()
		}
		return nil, &net.OpError{Op: "dial", Net: "tcp", Source: source, Addr: net.TCPAddrFromAddrPort(to), Err: err}
	}
	return conn, nil
}

func (d *Dialer) dial(ctx context.Context, from netip.Addr, to netip.AddrPort, source *net.TCPAddr) (net.Conn, error) {
	if !from.Is4() || !to.Addr().Is4() {
		return nil, fmt.Errorf("from %s to %s: both must be IPv4 addresses", from, to)
	}
	socket, err := d.socket(ctx)
	if err != nil {
		return nil, err
	}
	// Without this the kernel would look for a port that is free for every peer.
	err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(socket, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1))
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(socket, &unix.SockaddrInet4{Addr: from.As4()}))
	}
	if err == nil {
		err = os.NewSyscallError("connect", unix.Connect(socket, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}))
	}
	if name, err := unix.Getsockname(socket); err == nil {
		if local, ok := name.(*unix.SockaddrInet4); ok {
			source.Port = local.Port
		}
	}
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		unix.Close(socket)
		return nil, err
	}
	file := os.NewFile(uintptr(socket), "tcp") // joins the runtime's poller, since it does not block
	defer file.Close()
	if err := connected(ctx, file); err != nil {
		return nil, err
	}
	return net.FileConn(file)
}

func (d *Dialer) socket(ctx context.Context) (int, error) {
	answer := make(chan made, 1)
	select {
	case d.asked <- answer:
	case <-ctx.Done():
		return 0, timeout(ctx)
	case <-d.done:
		return 0, net.ErrClosed
	}
	m := <-answer
	return m.socket, os.NewSyscallError("socket", m.err)
}

// connected waits until the handshake is over, one way or another.
func connected(ctx context.Context, file *os.File) error {
	if deadline, ok := ctx.Deadline(); ok {
		_ = file.SetWriteDeadline(deadline)
	}
	defer context.AfterFunc(ctx, func() { _ = file.SetWriteDeadline(time.Unix(1, 0)) })()
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		switch errno := unix.Errno(code); {
		case err != nil:
			failed = os.NewSyscallError("getsockopt", err)
		case errno == unix.EINPROGRESS || errno == unix.EALREADY || errno == unix.EINTR:
			return false
		case errno != 0 && errno != unix.EISCONN:
			failed = os.NewSyscallError("connect", errno)
		default:
			_, err := unix.Getpeername(int(fd))
			return err == nil // woken too early otherwise
		}
		return true
	})
	if failed != nil {
		return failed
	}
	return unwrap(err)
}

// unwrap leaves the poller's words out: what counts is that time ran out.
func unwrap(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return os.ErrDeadlineExceeded
	}
	return err
}

func timeout(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return os.ErrDeadlineExceeded
	}
	return ctx.Err()
}
