package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nines-ha/nines/internal/namespace"
	"github.com/nines-ha/nines/internal/pki"
)

// Try carries a probe out from the network namespace that process pid is in. An
// error means that it could not be tried; a refusal is an Answer.
func Try(ctx context.Context, pid int, what Probe) (Answer, error) {
	if err := what.Validate(); err != nil {
		return Answer{}, err
	}
	certificate, err := what.certificate()
	if err != nil {
		return Answer{}, what.refuse("%w", err)
	}
	pod, err := namespace.NetOf(pid)
	if err != nil {
		return Answer{}, what.refuse("%w", err)
	}
	defer pod.Close()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	a := Answer{At: time.Now()}
	conn, err := pod.Dial(ctx, "tcp4", what.To.String())
	if err != nil {
		a.Refused, a.Detail = dialed(err), shorten(err.Error())
		return a, nil
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	a.From = addressOf(conn)
	if what.TLS != nil {
		conn = tls.Client(conn, &tls.Config{
			// A stranger has no authority to hold the other side against.
			InsecureSkipVerify: true,
			ServerName:         what.TLS.ServerName, NextProtos: what.TLS.ALPN,
			// It is shown also to who says that it knows other authorities only.
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil },
		})
	}
	if err := exchange(conn, what, &a); err != nil {
		a.Status, a.Body = 0, ""
		a.Refused, a.Detail = ended(err), shorten(err.Error())
	}
	return a, nil
}

// certificate is the probe's own, by an authority that nobody knows; an empty one
// where it has none.
func (p Probe) certificate() (*tls.Certificate, error) {
	if p.TLS == nil || p.TLS.Identity == "" {
		return &tls.Certificate{}, nil
	}
	identity, err := url.Parse(p.TLS.Identity)
	if err != nil {
		return nil, err
	}
	authority, err := pki.New("a stranger")
	if err != nil {
		return nil, err
	}
	pair, err := authority.Issue(pki.Subject{Name: "a stranger", URIs: []*url.URL{identity}})
	if err != nil {
		return nil, err
	}
	certificate, err := pair.TLS()
	return &certificate, err
}

// exchange asks once and reads the answer, of its body no more than the beginning.
func exchange(conn net.Conn, what Probe, a *Answer) error {
	req, err := http.NewRequest(http.MethodGet, "http://"+what.To.String()+what.Path, nil)
	if err != nil {
		return err
	}
	req.Close = true
	for name, value := range what.Headers {
		req.Header.Set(name, value)
	}
	if what.Host != "" {
		req.Host = what.Host
	}
	// What refuses may have ended the connection by now and said why: that is there
	// to be read, and tells more than that the rest was not taken.
	unsent := req.Write(conn)
	resp, err := http.ReadResponse(bufio.NewReaderSize(io.LimitReader(conn, maxBody), 4<<10), req)
	if err != nil {
		if unsent != nil && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
			return unsent
		}
		return err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody)) // a body that breaks off is an answer all the same
	a.Status, a.Body = resp.StatusCode, strings.ToValidUTF8(string(body), "")
	return nil
}

func dialed(err error) string {
	slow, ok := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return ConnectRefused
	case ok && slow.Timeout():
		return ConnectTimeout
	}
	return ConnectFailed
}

func ended(err error) string {
	op, ok := errors.AsType[*net.OpError](err)
	switch {
	case ok && op.Op == "remote error": // an alert of TLS
		return Alert
	case errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE):
		return Reset
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return Closed
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded):
		return Timeout
	}
	return Malformed
}

func addressOf(conn net.Conn) (a netip.AddrPort) {
	if local, ok := conn.LocalAddr().(*net.TCPAddr); ok {
		return local.AddrPort()
	}
	return a
}

func shorten(text string) string {
	return fmt.Sprintf("%.*s", maxDetail, text)
}
