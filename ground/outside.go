package ground

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nines-ha/nines/ground/world"
	"github.com/nines-ha/nines/internal/namespace"
)

// Outside is where clients are: a network outside every region, in which each
// client has an address of its own. Load comes from there. It takes the way of
// packets from the internet: over the backbone to a load balancer's frontend.
type Outside struct{ dialer *namespace.Dialer }

// Outside opens the network of the clients of a running ground, for this
// process. It needs root. Close it; until then the network outlives its ground.
func (c *Client) Outside(ctx context.Context) (*Outside, error) {
	outside, backbone, err := c.networks(ctx)
	if err != nil {
		return nil, fmt.Errorf("go outside: %w", err)
	}
	backbone.Close()
	defer outside.Close()
	dialer, err := namespace.OpenDialer(outside)
	if err != nil {
		return nil, fmt.Errorf("go outside: %w", err)
	}
	return &Outside{dialer}, nil
}

// Dial connects to an address, an IP literal and a port, from the address of a
// client, counted from 0. It may be called from many goroutines.
func (o *Outside) Dial(ctx context.Context, client int, address string) (net.Conn, error) {
	from, err := world.Client(client)
	if err != nil {
		return nil, err
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial %q: want an address and a port: %w", address, err)
	}
	return o.dialer.Dial(ctx, from, to)
}

// Close must be called once. Connections live on.
func (o *Outside) Close() { o.dialer.Close() }

// Dial connects to what is inside the ground, as its administrators do: to an IP
// literal, or the host name of a managed store or of the Git host, and a port.
func (c *Client) Dial(ctx context.Context, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if _, err := netip.ParseAddr(host); err != nil {
		if host, err = c.storeAddress(ctx, host); err != nil {
			return nil, err
		}
	}
	outside, backbone, err := c.networks(ctx)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	outside.Close()
	defer backbone.Close()
	return backbone.Dial(ctx, "tcp4", net.JoinHostPort(host, port))
}

func (c *Client) storeAddress(ctx context.Context, host string) (string, error) {
	status, err := c.World(ctx)
	if err != nil {
		return "", err
	}
	for _, s := range status.Stores {
		if strings.EqualFold(s.Host, strings.TrimSuffix(host, ".")) {
			return s.Address, nil
		}
	}
	if g := status.Git; g != nil && strings.EqualFold(g.Host, strings.TrimSuffix(host, ".")) {
		return g.Address, nil
	}
	return "", fmt.Errorf("no store of %s is at %s", c.Name, host)
}

// networks asks the world itself, because descriptors do not go through a proxy.
func (c *Client) networks(ctx context.Context) (outside, backbone *namespace.Set, err error) {
	h, err := homeOf(c.Name)
	if err != nil {
		return nil, nil, err
	}
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", h.world("").ControlSocket())
	if err != nil {
		return nil, nil, fmt.Errorf("reach %s: %w; see \"nines status\"", c.Name, err)
	}
	defer conn.Close()
	deadline := time.Now().Add(5 * time.Second)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, nil, err
	}
	_, err = io.WriteString(conn, "GET "+world.Networks+" HTTP/1.1\r\nHost: ground\r\nConnection: Upgrade\r\nUpgrade: descriptors\r\n\r\n")
	if err != nil {
		return nil, nil, err
	}
	return receive(conn.(*net.UnixConn))
}

// receive reads an answer that carries two descriptors.
func receive(conn *net.UnixConn) (outside, backbone *namespace.Set, err error) {
	text := make([]byte, 1<<10)
	space := make([]byte, unix.CmsgSpace(2*4))
	n, m, _, _, err := conn.ReadMsgUnix(text, space)
	if err != nil {
		return nil, nil, err
	}
	var files []*os.File
	messages, err := unix.ParseSocketControlMessage(space[:m])
	for _, message := range messages {
		fds, _ := unix.ParseUnixRights(&message)
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "net"))
		}
	}
	if err == nil && len(files) == 2 && strings.HasPrefix(string(text[:n]), world.Switched) {
		return &namespace.Set{Net: files[0]}, &namespace.Set{Net: files[1]}, nil
	}
	for _, f := range files {
		f.Close()
	}
	if err == nil {
		err = errors.New(answerText(string(text[:n])))
	}
	return nil, nil, err
}

// answerText is what an answer without descriptors says.
func answerText(answer string) string {
	if _, body, found := strings.Cut(answer, "\r\n\r\n"); found && strings.TrimSpace(body) != "" {
		return strings.TrimSpace(body)
	}
	return "the ground gave no network; see \"nines status\""
}

// WorldStatus is the inside of a ground as it is now.
type WorldStatus = world.Status

// World asks the inside of the ground alone, which costs less than Status.
func (c *Client) World(ctx context.Context) (s WorldStatus, err error) {
	return s, c.do(ctx, http.MethodGet, "/world/status", nil, &s)
}
