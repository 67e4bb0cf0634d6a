package ground

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nines-ha/nines/internal/namespace"
)

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// forwardTo makes a way in whose inside is the test's own network.
func forwardTo(t *testing.T, target string) (address string, f *forward) {
	t.Helper()
	l := listen(t)
	f = newForward(l, &namespace.Set{}, target)
	t.Cleanup(f.Close)
	return l.Addr().String(), f
}

func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn.(*net.TCPConn)
}

// An end of one direction goes through, and the other direction goes on.
func TestForwardHalfCloses(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	server := listen(t)
	go func() {
		conn, err := server.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		body, _ := io.ReadAll(conn) // all, to the client's end
		_, _ = conn.Write(append([]byte("got "), body...))
	}()
	address, _ := forwardTo(t, server.Addr().String())
	conn := dial(t, address)
	if _, err := conn.Write([]byte("text")); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(conn); err != nil || string(body) != "got text" {
		t.Errorf("read %q, %v", body, err)
	}
}

// Where nobody answers inside, the connection fails; an end would look like an answer.
func TestForwardToNobodyResets(t *testing.T) {
	gone := listen(t)
	target := gone.Addr().String()
	gone.Close()
	address, _ := forwardTo(t, target)
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err == nil { // the reset may come as early as that
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		_, err = conn.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("error = %v, want a reset", err)
	}
}

func TestForwardCloseEndsItsConnections(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	server := listen(t)
	accepted := make(chan net.Conn, 1)
	go func() {
		if conn, err := server.Accept(); err == nil {
			_, _ = conn.Write([]byte("x"))
			accepted <- conn
		}
	}()
	address, f := forwardTo(t, server.Addr().String())
	conn := dial(t, address)
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	far := <-accepted
	defer far.Close()
	f.Close()
	for name, c := range map[string]net.Conn{"client": conn, "server": far} {
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, syscall.ETIMEDOUT) {
			t.Errorf("the %s's connection goes on: %v", name, err)
		}
	}
	if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
		conn.Close()
		t.Error("the listener goes on")
	}
}

func TestListenNearSkipsWhatIsTaken(t *testing.T) {
	first, err := listenNear(20443)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	port := first.Addr().(*net.TCPAddr).Port
	second, err := listenNear(port)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	addr := second.Addr().(*net.TCPAddr)
	if addr.Port <= port || addr.Port >= port+100 || !addr.IP.IsLoopback() {
		t.Errorf("near %d is %s", port, addr)
	}
}
