package balancer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/nines-ha/nines/internal/namespace"
)

const (
	httpTimeout  = 30 * time.Second // documented: the built-in timeout of HTTP probes
	maxProbeBody = 64 << 10
)

// State is what probes say of a backend.
type State string

const (
	Unknown State = "unknown" // no probe has succeeded yet: it gets no flows
	Up      State = "up"
	Down    State = "down"
)

// A target is what one prober asks. Rules with the same target share a prober.
type target struct {
	address netip.Addr
	probe   Probe
}

// A prober asks one target for ever and tells when its state turns.
type prober struct {
	target
	node   string
	router *namespace.Set
	source netip.Addr
	settle time.Duration
	tell   func(*prober, State, error) // called from the prober's goroutine
	stop   context.CancelFunc

	// Below: guarded by the plane.
	state  State
	since  time.Time
	reason string
	streak int // consecutive answers that contradict state
}

func (p *prober) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		begun := time.Now()
		err := p.once(ctx)
		if ctx.Err() != nil {
			return
		}
		state := Up
		if err != nil {
			state = Down
		}
		p.tell(p, state, err)
		timer.Reset(max(0, p.interval(err)-time.Since(begun)))
	}
}

func (p *prober) interval(err error) time.Duration {
	if err != nil && p.settle > 0 && p.settle < p.probe.Interval {
		return p.settle
	}
	return p.probe.Interval
}

// observe counts one answer and reports whether the state turned.
func (p *prober) observe(answer State, err error, now time.Time) bool {
	if answer == p.state {
		p.streak = 0
		return false
	}
	p.streak++
	if p.state != Unknown && p.streak < p.probe.Threshold {
		return false
	}
	if p.state == Unknown && answer == Down {
		p.reason = err.Error()
		return false
	}
	p.state, p.since, p.streak, p.reason = answer, now, 0, ""
	if err != nil {
		p.reason = err.Error()
	}
	return true
}

func (p *prober) once(ctx context.Context) error {
	timeout := p.probe.Interval
	if p.probe.Protocol != TCP {
		timeout = min(timeout, httpTimeout)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if p.probe.Protocol == TCP {
		conn, err := p.dial(ctx, "tcp4", p.hostPort())
		if err != nil {
			return err
		}
		return conn.Close()
	}
	return p.get(ctx)
}

func (p *prober) get(ctx context.Context) error {
	url := string(p.probe.Protocol) + "://" + p.hostPort() + p.probe.Path
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("probe %s: %w", url, err)
	}
	request.Header.Set("User-Agent", "Load Balancer Agent")
	transport := &http.Transport{
		DialContext:       p.dial,
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // Azure asks whether it answers, not who it is
	}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request) // not a client: a redirect is not a 200
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: status %d", p.probe.Path, response.StatusCode)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, maxProbeBody))
	return err
}

func (p *prober) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var dialer net.Dialer
	if p.source.IsValid() {
		dialer.LocalAddr = &net.TCPAddr{IP: p.source.AsSlice()}
	}
	var conn net.Conn
	err := p.router.Do(func() (err error) {
		conn, err = dialer.DialContext(ctx, network, address)
		return err
	})
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return nil, fmt.Errorf("no answer from %s", address)
	}
	return conn, err
}

func (p *prober) hostPort() string {
	return net.JoinHostPort(p.address.String(), strconv.Itoa(int(p.probe.Port)))
}
