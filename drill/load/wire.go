package load

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A wire reads and writes a TCP connection without telling the scheduler of it.
// The sockets do not block, so there is nothing to tell; but each telling wakes
// the runtime's monitor up, and where a process is idle most of the time, as a
// generator is, that costs a fifth of all its CPU. One Read and one Write may be
// under way at once.
type wire struct {
	*net.TCPConn
	raw syscall.RawConn

	in, out     transfer
	read, write func(uintptr) bool
}

// A transfer is the call that is under way.
type transfer struct {
	buffer []byte
	n      int
	errno  syscall.Errno
}

func newWire(conn *net.TCPConn) (*wire, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	w := &wire{TCPConn: conn, raw: raw}
	w.read = func(fd uintptr) bool { return w.in.do(unix.SYS_READ, fd) }
	w.write = func(fd uintptr) bool {
		for len(w.out.buffer) > 0 {
			if !w.out.do(unix.SYS_WRITE, fd) {
				return false
			}
			if w.out.errno != 0 {
				return true
			}
			w.out.buffer = w.out.buffer[w.out.n:]
		}
		return true
	}
	return w, nil
}

// do is false when the socket is not ready.
func (t *transfer) do(number, fd uintptr) bool {
	for {
		n, _, errno := unix.RawSyscall(number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(t.buffer))), uintptr(len(t.buffer)))
		switch errno {
		case unix.EAGAIN:
			return false
		case unix.EINTR:
			continue
		case 0:
			t.n, t.errno = int(n), 0
		default:
			t.n, t.errno = 0, errno
		}
		return true
	}
}

func (w *wire) Read(to []byte) (int, error) {
	if len(to) == 0 {
		return 0, nil
	}
	w.in = transfer{buffer: to}
	err := w.raw.Read(w.read)
	n, errno := w.in.n, w.in.errno
	w.in = transfer{}
	switch {
	case err != nil:
		return 0, err
	case errno != 0:
		return 0, os.NewSyscallError("read", errno)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (w *wire) Write(from []byte) (int, error) {
	w.out = transfer{buffer: from}
	err := w.raw.Write(w.write)
	n, errno := len(from)-len(w.out.buffer), w.out.errno
	w.out = transfer{}
	if err == nil && errno != 0 {
		err = os.NewSyscallError("write", errno)
	}
	return n, err
}
