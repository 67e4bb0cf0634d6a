package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/failsafehttp"

	"github.com/nines-ha/nines/fleet/vehicle/wire"
	"github.com/nines-ha/nines/fleet/vss"
)

// Bounds of one request with its repetitions. What the service asks for in
// Retry-After is honoured up to longestWait.
const (
	attempts       = 12
	firstWait      = 100 * time.Millisecond
	longestWait    = 10 * time.Second
	longestRequest = 90 * time.Second
	longestAnswer  = 10 * time.Second // until its header, of one attempt
	mostBody       = 16 << 20
)

// A client speaks to the vehicle service. Every request here is safe to repeat,
// so refusals of the moment (429, 5xx) and broken connections are.
type client struct {
	base      *url.URL
	transport *http.Transport
	http      *http.Client // repeats
	once      *http.Client
	sent      atomic.Int64
	repeated  atomic.Int64
}

func newClient(base string, concurrency int) (*client, error) {
	parsed, err := url.Parse(base)
	if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "" {
		return nil, fmt.Errorf("%q is not the URL of a service; it looks like http://127.0.0.1:8080", base)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost, transport.MaxConnsPerHost = concurrency, concurrency
	transport.ResponseHeaderTimeout = longestAnswer
	c := &client{base: parsed, transport: transport}
	policy := failsafehttp.NewRetryPolicyBuilder().
		WithMaxAttempts(attempts).WithMaxDuration(longestRequest).
		WithBackoff(firstWait, longestWait).WithJitterFactor(0.2).
		WithDelayFunc(func(e failsafe.ExecutionAttempt[*http.Response]) time.Duration {
			return min(failsafehttp.DelayFunc(e), longestWait)
		}).
		AbortOnErrors(context.Canceled, context.DeadlineExceeded).
		OnRetryScheduled(func(e failsafe.ExecutionScheduledEvent[*http.Response]) {
			// The body of an answer that is not the last is ours to end, or its
			// connection is lost.
			if response := e.LastResult(); response != nil {
				_, _ = io.CopyN(io.Discard, response.Body, 64<<10)
				_ = response.Body.Close()
			}
		}).
		OnRetry(func(failsafe.ExecutionEvent[*http.Response]) { c.repeated.Add(1) }).
		ReturnLastFailure().Build()
	c.http = &http.Client{Transport: failsafehttp.NewRoundTripper(transport, policy), Timeout: longestRequest}
	c.once = &http.Client{Transport: transport, Timeout: longestAnswer}
	return c, nil
}

func (c *client) close()        { c.transport.CloseIdleConnections() }
func (c *client) requests() int { return int(c.sent.Load()) }
func (c *client) retries() int  { return int(c.repeated.Load()) }

// probe finds out early, and without repeating, that the service is not there.
func (c *client) probe(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base.JoinPath("openapi.json").String(), nil)
	if err != nil {
		return err
	}
	const next = "start the ground with \"nines up\", or name the service with --url"
	response, err := c.once.Do(request)
	if err != nil {
		return fmt.Errorf("nothing answers: %w; %s", err, next)
	}
	defer response.Body.Close()
	document, err := io.ReadAll(io.LimitReader(response.Body, mostBody))
	if err != nil {
		return fmt.Errorf("%s breaks off: %w; %s", c.base, err, next)
	}
	if response.StatusCode == http.StatusOK && !strings.Contains(string(document), "/v1/vehicles/{vin}/signals") {
		return fmt.Errorf("%s is not a vehicle service; %s", c.base, next)
	}
	if response.StatusCode >= 300 && response.StatusCode < 500 && response.StatusCode != http.StatusTooManyRequests {
		return fmt.Errorf("%s is not a vehicle service: it answers %s; %s", c.base, response.Status, next)
	}
	return nil
}

func (c *client) post(ctx context.Context, vin vss.VIN, batch wire.Batch) (wire.Receipt, error) {
	body, err := json.Marshal(batch)
	if err != nil {
		return wire.Receipt{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base.JoinPath("v1/vehicles", string(vin), "signals").String(), bytes.NewReader(body))
	if err != nil {
		return wire.Receipt{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	var receipt wire.Receipt
	err = c.do(request, &receipt)
	return receipt, err
}

func (c *client) track(ctx context.Context, vin vss.VIN, from, to time.Time, cursor string) (wire.Track, error) {
	target := c.base.JoinPath("v1/vehicles", string(vin), "track")
	query := url.Values{"from": {from.UTC().Format(time.RFC3339Nano)}, "to": {to.UTC().Format(time.RFC3339Nano)}, "limit": {strconv.Itoa(wire.MaxPage)}}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	target.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return wire.Track{}, err
	}
	var track wire.Track
	err = c.do(request, &track)
	return track, err
}

func (c *client) do(request *http.Request, into any) error {
	c.sent.Add(1)
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, mostBody))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		var problem struct{ Detail string }
		_ = json.Unmarshal(body, &problem)
		return errors.New(strings.TrimSpace("the service answers " + response.Status + " " + problem.Detail))
	}
	return json.Unmarshal(body, into)
}
