package load

import (
	"bufio"
	"net"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"
)

// A connection carries one request at a time.
type connection struct {
	net.Conn
	local  string
	raw    syscall.RawConn // nil: it can't be looked at
	look   func(uintptr)
	alive  bool // what look found
	served bool // a request before
	since  time.Time

	in      int   // bytes received for this request
	failure error // of the first Read that failed
	reader  *bufio.Reader
	out     []byte
	answer  fasthttp.Response

	pod, node, zone, version string // of the latest answer
}

func newConnection(conn net.Conn) *connection {
	c := &connection{Conn: conn, local: conn.LocalAddr().String()}
	c.reader = bufio.NewReaderSize(c, mostHeader)
	if system, ok := conn.(syscall.Conn); ok {
		if raw, err := system.SyscallConn(); err == nil {
			c.raw = raw
		}
	}
	var one [1]byte
	c.look = func(fd uintptr) {
		// An orderly end shows as 0 bytes, a reset as its error, and bytes that
		// nobody asked for make it unusable too.
		_, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		c.alive = err == unix.EAGAIN
	}
	return c
}

// Read counts what arrives and keeps the error, which parsers put into words of
// their own.
func (c *connection) Read(to []byte) (int, error) {
	n, err := c.Conn.Read(to)
	c.in += n
	if err != nil && c.failure == nil {
		c.failure = err
	}
	return n, err
}

// usable tells whether an idle connection may carry another request. That the
// other end closes it between this look and the request is a race that every
// client of HTTP has.
func (c *connection) usable(now time.Time) bool {
	if now.Sub(c.since) > idleLife {
		return false
	}
	if c.raw == nil {
		return true
	}
	c.alive = false
	err := c.raw.Control(c.look)
	return err == nil && c.alive
}

func (c *connection) close() { _ = c.Conn.Close() }

// keep is a text as a string, and the string at hand if it says the same.
func keep(at *string, text []byte) string {
	if *at != string(text) {
		*at = string(text)
	}
	return *at
}
