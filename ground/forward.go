package ground

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/nines-ha/nines/internal/namespace"
)

// maxForwarded bounds the connections of one way in.
const maxForwarded = 4096

// forward is a loopback listener whose connections go on inside the ground. It
// moves bytes and decides nothing: an end that closes or resets closes the other.
type forward struct {
	listener net.Listener
	inside   *namespace.Set
	target   string

	slots chan struct{}
	mu    sync.Mutex
	open  map[net.Conn]struct{}
	wg    sync.WaitGroup
}

func newForward(l net.Listener, inside *namespace.Set, target string) *forward {
	f := &forward{listener: l, inside: inside, target: target, slots: make(chan struct{}, maxForwarded), open: map[net.Conn]struct{}{}}
	f.wg.Go(f.accept)
	return f
}

func (f *forward) accept() {
	for {
		conn, err := f.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of files: others must end first
			continue
		}
		select {
		case f.slots <- struct{}{}:
			f.wg.Go(func() {
				defer func() { <-f.slots }()
				f.carry(conn)
			})
		default:
			conn.Close()
		}
	}
}

func (f *forward) carry(outer net.Conn) {
	defer outer.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	inner, err := f.inside.Dial(ctx, "tcp", f.target)
	cancel()
	if err != nil {
		if tcp, ok := outer.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // the way in is a connection that fails, not one that ends
		}
		return
	}
	defer inner.Close()
	if !f.track(outer, inner) {
		return
	}
	defer f.untrack(outer, inner)
	var wg sync.WaitGroup
	pump := func(to, from net.Conn) {
		_, err := io.Copy(to, from)
		if err == nil {
			if tcp, ok := to.(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
				return
			}
		}
		to.Close()
		from.Close()
	}
	wg.Go(func() { pump(inner, outer) })
	wg.Go(func() { pump(outer, inner) })
	wg.Wait()
}

func (f *forward) track(conns ...net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		return false
	}
	for _, c := range conns {
		f.open[c] = struct{}{}
	}
	return true
}

func (f *forward) untrack(conns ...net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range conns {
		delete(f.open, c)
	}
}

// Close ends the listener and every connection.
func (f *forward) Close() {
	f.listener.Close()
	f.mu.Lock()
	for c := range f.open {
		c.Close()
	}
	f.open = nil
	f.mu.Unlock()
	f.wg.Wait()
}

// listenNear opens a loopback listener on a port, or the next free one above.
func listenNear(port int) (net.Listener, error) {
	var last error
	for p := port; p < port+100; p++ {
		l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: p})
		if err == nil {
			return l, nil
		}
		last = err
	}
	return nil, last
}
