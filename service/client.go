package service

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
)

func (s *Service) newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   3 * time.Second,
		ExpectContinueTimeout: time.Second,
		// Two, the default, would close and open connections all the time.
		MaxIdleConns:        512,
		MaxIdleConnsPerHost: 128,
		MaxConnsPerHost:     256,
		// Below the 75 seconds after which a server of this package hangs up.
		IdleConnTimeout:        60 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

func (s *Service) newClient(transport *http.Transport) *http.Client {
	traced := otelhttp.NewTransport(transport,
		otelhttp.WithTracerProvider(s.telemetry.traces),
		otelhttp.WithMeterProvider(s.telemetry.metrics),
		otelhttp.WithPropagators(s.telemetry.propagator))
	return &http.Client{Transport: outbound{traced}, Timeout: s.settings.ClientTimeout}
}

// outbound passes the request id and the rest of the deadline on.
type outbound struct{ next http.RoundTripper }

func (o outbound) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	r = r.Clone(ctx)
	if ex := exchangeOf(ctx); ex != nil && r.Header.Get(requestIDHeader) == "" {
		r.Header.Set(requestIDHeader, ex.requestID)
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline).Milliseconds()
		if left < 1 {
			if r.Body != nil {
				r.Body.Close()
			}
			return nil, fmt.Errorf("no time left to call %s: %w", r.URL.Host, context.DeadlineExceeded)
		}
		r.Header.Set(budgetHeader, strconv.FormatInt(left, 10))
	}
	return o.next.RoundTrip(r)
}

// renewConnections closes idle ones now and then, so that a name that points
// elsewhere, or a Service with more pods, is noticed.
func renewConnections(ctx context.Context, transport *http.Transport) error {
	ticker := time.NewTicker(30 * time.Second)
	defer ticker.Stop()
	defer transport.CloseIdleConnections()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			transport.CloseIdleConnections()
		}
	}
}
