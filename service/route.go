package service

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/semaphore"
)

// A RouteOption changes one limit of a route.
type RouteOption func(*route)

// Timeout bounds the request: its context ends then, or earlier when the caller
// says so in X-Envoy-Expected-Rq-Timeout-Ms. The default is 5 seconds. Zero
// means no bound, for streams.
func Timeout(d time.Duration) RouteOption { return func(r *route) { r.timeout = d } }

// Concurrency bounds how many requests of the route run at once; more are
// answered 429 with Retry-After at once: not 503, which a proxy in front takes for
// a replica that is ill, tries elsewhere, and in the end asks no more. The default
// is 256.
func Concurrency(n int) RouteOption { return func(r *route) { r.concurrency = int64(n) } }

// MaxBody bounds the request's body in bytes. The default is 1 MiB.
func MaxBody(n int64) RouteOption { return func(r *route) { r.maxBody = n } }

// route holds one pattern's handler inside its limits.
type route struct {
	pattern     string
	timeout     time.Duration
	concurrency int64
	maxBody     int64

	handler http.Handler
	slots   *semaphore.Weighted
	service *Service
	shed    metric.Int64Counter
	labels  metric.MeasurementOption
}

// Handle serves pattern, which has the syntax of [http.ServeMux], within the
// limits of options. A handler must watch its request's context: the library
// ends the context in time, and cannot end the handler.
func (s *Service) Handle(pattern string, handler http.Handler, options ...RouteOption) {
	r := &route{
		pattern: pattern, handler: handler, service: s,
		timeout: 5 * time.Second, concurrency: 256, maxBody: 1 << 20,
		shed:   s.telemetry.shed,
		labels: metric.WithAttributeSet(attribute.NewSet(attribute.String("http.route", pattern[max(0, strings.IndexByte(pattern, '/')):]))),
	}
	for _, option := range options {
		option(r)
	}
	if r.timeout < 0 || r.concurrency < 1 || r.maxBody < 0 {
		panic(fmt.Sprintf("service: route %q: timeout, concurrency and body size must not be negative, and concurrency not zero", pattern))
	}
	r.slots = semaphore.NewWeighted(r.concurrency)
	s.mux.Handle(pattern, r)
	s.routes++
}

func (rt *route) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ex := exchangeOf(r.Context())
	ex.routed = true
	if !rt.slots.TryAcquire(1) {
		rt.shed.Add(r.Context(), 1, rt.labels)
		ex.shed = true
		WriteError(w, r, errShed)
		return
	}
	defer rt.slots.Release(1)

	ctx, cancel, err := rt.budget(r, ex)
	defer cancel()
	if err != nil {
		WriteError(w, r, err)
		return
	}
	inner := r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		inner.Body = http.MaxBytesReader(ex.writer, r.Body, rt.maxBody)
	}
	rt.handler.ServeHTTP(w, inner)
	// A mux inside the handler names the route more exactly than ours did.
	r.Pattern = inner.Pattern
	r.MultipartForm = inner.MultipartForm
	if ex.status == 0 && ctx.Err() == context.DeadlineExceeded {
		WriteError(w, r, ctx.Err())
	}
}

var errShed = &Problem{Status: http.StatusTooManyRequests, Detail: "too many requests at once; try again", RetryAfter: time.Second}
