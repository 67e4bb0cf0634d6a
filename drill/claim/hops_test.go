package claim

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nines-ha/nines/record"
)

// hop is what the gateway g2 on n2 says of a request that it sent to p1.
func (b *script) hop(r *record.Request, flags string, change ...func(*record.Hop)) {
	h := record.Hop{
		ID: r.ID, At: r.Sent, Length: max(0, r.Done-r.Sent), Proxy: record.AtGateway, Pod: "g2", Node: "n2", Status: r.Status,
		Upstream: "10.0.1.1:8080", UpstreamPod: "p1", Attempts: 1,
	}
	if flags != "" {
		h.Flags = strings.Split(flags, ",")
	}
	for _, c := range change {
		c(&h)
	}
	b.Hops = append(b.Hops, h)
}

// refuse makes the gateway answer by itself.
func (b *script) refuse(at time.Duration, status int, flags string, change ...func(*record.Hop)) *record.Request {
	r := b.answer(at, status, "")
	r.Pod, r.Node, r.Zone = "", "", ""
	b.hop(r, flags, change...)
	return r
}

func TestHopRules(t *testing.T) {
	const at = 6*s + 300*ms
	nobody := func(h *record.Hop) { h.Upstream, h.UpstreamPod, h.Attempts = "", "", 0 }
	inbound := func(h *record.Hop) {
		h.Proxy, h.Pod, h.Node, h.Upstream, h.UpstreamPod = record.Inbound, "p1", "n1", "127.0.0.6:1", "p1"
	}
	details := func(text string) func(*record.Hop) { return func(h *record.Hop) { h.Details = text } }
	failure := func(text string) func(*record.Hop) { return func(h *record.Hop) { h.Failure = text } }
	tests := []struct {
		name  string
		make  func(*script) *record.Request
		cause string
		story []string
	}{
		{"no healthy upstream, and nobody is ready", func(b *script) *record.Request {
			for i := 1; i <= 3; i++ {
				b.on(6*s, record.Endpoint, fmt.Sprint("p", i), "unready", fmt.Sprint("n", i))
			}
			return b.refuse(at, 503, "UH", nobody)
		}, NoEndpoint, []string{"answered 503; gateway g2 on n2: no healthy upstream (UH); no replica was ready then"}},
		{"no healthy upstream, and all are put out", func(b *script) *record.Request { return b.refuse(at, 503, "UH", nobody) }, NoHealthyUpstream, []string{"3 replicas were ready then"}},
		{"connection failure to a dead node", func(b *script) *record.Request {
			b.event(5*s, record.Machine, "n1", "stopped")
			return b.refuse(at, 503, "UF,URX", failure("connection_timeout"), func(h *record.Hop) { h.Attempts = 3 })
		}, NodeDown, []string{"gateway g2 on n2: upstream connection failure (UF), retry limit reached (URX), 3 attempts, the last to p1 on n1: \"connection_timeout\"; n1 was powered off 1.301 s before"}},
		{"the pod behind ends", func(b *script) *record.Request {
			b.on(at-50*ms, record.Pod, "p1", "terminating", "n1")
			b.only(at-300*ms, "p3", "n3")
			return b.refuse(at, 503, "UC")
		}, PodEnded, []string{"upstream ended the connection (UC), to p1 on n1; pod p1 was told to end 55 ms before"}},
		{"the pod behind drains, and serves", func(b *script) *record.Request {
			b.on(at-50*ms, record.Pod, "p1", "terminating", "n1")
			return b.refuse(at, 503, "UC")
		}, UpstreamLost, nil},
		{"refused by an endpoint that is ready", func(b *script) *record.Request {
			return b.refuse(at, 503, "UF", failure("delayed connect error: Connection refused"))
		}, NotServing, []string{"it was said to be ready 6.301 s before"}},
		{"refused by what is no endpoint any more", func(b *script) *record.Request {
			b.on(6*s, record.Endpoint, "p1", "gone", "n1")
			return b.refuse(at, 503, "UF", failure("delayed connect error: Connection refused"))
		}, NoEndpoint, []string{"it was gone 301 ms before"}},
		{"the program beside its sidecar does not listen", func(b *script) *record.Request {
			r := b.refuse(at, 503, "")
			b.hop(r, "UF", inbound)
			return r
		}, NotServing, []string{"sidecar of p1 on n1: upstream connection failure (UF); it was said to be ready"}},
		{"a connection that fails for no reason", func(b *script) *record.Request { return b.refuse(at, 503, "UF", failure("reset")) }, UpstreamLost, []string{"to p1 on n1"}},
		{"a stranger's certificate", func(b *script) *record.Request {
			return b.refuse(at, 503, "UF", failure("TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED"))
		}, PolicyDenied, nil},
		{"circuit breaker", func(b *script) *record.Request { return b.refuse(at, 503, "UO") }, Shed, []string{"overflow, the circuit breaker is open (UO)"}},
		{"rate limit", func(b *script) *record.Request { return b.refuse(at, 429, "RL", nobody) }, Shed, []string{"rate limit (RL)"}},
		{"proxy overloaded", func(b *script) *record.Request { return b.refuse(at, 503, "OM", nobody) }, Shed, nil},
		{"dropped", func(b *script) *record.Request { return b.refuse(at, 503, "DO", nobody) }, Shed, nil},
		{"no route", func(b *script) *record.Request { return b.refuse(at, 404, "NR", nobody) }, NoRoute, []string{"no route (NR)"}},
		{"no cluster", func(b *script) *record.Request { return b.refuse(at, 503, "NC", nobody) }, NoRoute, nil},
		{"no address", func(b *script) *record.Request { return b.refuse(at, 503, "DF", nobody) }, NoRoute, nil},
		{"denied by a policy", func(b *script) *record.Request {
			r := b.refuse(at, 403, "")
			b.hop(r, "", inbound, details("rbac_access_denied_matched_policy[none]"))
			return r
		}, PolicyDenied, []string{"sidecar of p1 on n1: denied by a policy (rbac_access_denied_matched_policy[none])"}},
		{"denied by another service", func(b *script) *record.Request { return b.refuse(at, 403, "UAEX", nobody) }, PolicyDenied, nil},
		{"malformed for Envoy", func(b *script) *record.Request { return b.refuse(at, 400, "DPE", nobody) }, PolicyDenied, nil},
		{"injected", func(b *script) *record.Request { return b.refuse(at, 503, "FI", nobody) }, Injected, nil},
		{"delayed, and slow", func(b *script) *record.Request {
			r := b.slow(at, 2*s)
			b.hop(r, "DI")
			return r
		}, Injected, nil},
		{"timeout", func(b *script) *record.Request { return b.refuse(at, 504, "UT") }, ProxyTimeout, []string{"upstream request timeout (UT), to p1 on n1"}},
		{"timeout of a hung node", func(b *script) *record.Request {
			b.event(5*s, record.Machine, "n1", "frozen")
			return b.refuse(at, 504, "UT")
		}, NodeDown, []string{"n1 was hung 1.301 s before"}},
		{"timeout while the store stalls", func(b *script) *record.Request {
			b.event(5*s, record.Fault, "eu/telemetry", "done").Text = "eu/telemetry holds still"
			b.event(13*s, record.Fault, "eu/telemetry", "undone")
			return b.refuse(at, 504, "UT")
		}, Database, []string{"eu/telemetry holds still", "gateway g2 on n2: upstream request timeout (UT)"}},
		{"no healthy upstream while the store stalls", func(b *script) *record.Request {
			b.event(5*s, record.Part, "eu/telemetry", "stopped")
			return b.refuse(at, 503, "UH", nobody)
		}, NoHealthyUpstream, nil},
		{"timeout on a busy machine", func(b *script) *record.Request {
			b.Seconds[6].CPU = 0.97
			return b.refuse(at, 504, "UT")
		}, Machine, nil},
		{"the client gave up on a dead node", func(b *script) *record.Request {
			b.event(5*s, record.Machine, "n1", "stopped")
			r := b.fail(at, record.Timeout, 5*s)
			b.hop(r, "DC")
			return r
		}, NodeDown, []string{"no answer within 5 s; gateway g2 on n2: downstream ended the connection (DC), to p1 on n1; n1 was powered off 1.301 s before"}},
		{"the client gave up on a replica that took too long", func(b *script) *record.Request {
			r := b.fail(at, record.Timeout, 5*s)
			b.hop(r, "DC")
			b.hop(r, "DC", inbound)
			return r
		}, SlowAnswer, []string{"the sidecar of p1 on n1 waited 4.999 s for its answer"}},
		{"slow, and not for its replica", func(b *script) *record.Request {
			r := b.slow(at, 400*ms)
			r.First = r.Done - 10*ms
			b.hop(r, "")
			b.hop(r, "", inbound, func(h *record.Hop) { h.Length = 3 * ms })
			return r
		}, Unattributed, nil},
		{"slow after a dead node", func(b *script) *record.Request {
			b.event(5*s, record.Machine, "n3", "stopped")
			r := b.slow(at, 2*s)
			b.hop(r, "", func(h *record.Hop) { h.Attempts = 2 })
			return r
		}, NodeDown, []string{"2 attempts, the last to p1 on n1; an attempt can have gone to p3 on n3, powered off"}},
		{"slow after another attempt", func(b *script) *record.Request {
			r := b.slow(at, 2*s)
			b.hop(r, "", func(h *record.Hop) { h.Attempts = 2 })
			return r
		}, UpstreamLost, nil},
		{"slow, and asked nobody else", func(b *script) *record.Request {
			b.event(5*s, record.Machine, "n3", "stopped")
			r := b.slow(at, 2*s)
			b.hop(r, "")
			return r
		}, Unattributed, nil},
		{"the log is missing, and Envoy's words are not", func(b *script) *record.Request {
			r := b.answer(at, 503, "no healthy upstream")
			r.Pod = ""
			return r
		}, NoHealthyUpstream, []string{"gateway g2 on n2: no healthy upstream (UH)"}},
		{"the service's own error", func(b *script) *record.Request {
			r := b.answer(at, 500, "")
			b.hop(r, "")
			b.hop(r, "", inbound)
			return r
		}, ServerError, []string{"answered 500 by p1 on n1"}},
		{"the gateway of a connection is known from its log", func(b *script) *record.Request {
			b.Flows = nil
			b.event(5*s, record.Machine, "n2", "stopped")
			b.hop(b.at(at-300*ms), "") // on the same connection
			return b.fail(at, record.Timeout, 5*s)
		}, NodeDown, []string{"on a connection to n2"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			b := newScript(t)
			b.gate()
			r := tc.make(b)
			v := expect(t, b, r.ID, tc.cause, tc.story)
			for _, a := range v.Attribution {
				if a.Text == meaning(Unattributed) && a.Cause != Unattributed {
					t.Errorf("cause %s has no meaning", a.Cause)
				}
			}
		})
	}
}

// Envoy 1.40 has thirty flags, and each has words.
func TestFlags(t *testing.T) {
	known := flags()
	if len(known) != 30 {
		t.Errorf("%d flags", len(known))
	}
	if got := flagWords([]string{"UF", "XX"}); !slices.Equal(got, []string{"upstream connection failure (UF)", "XX"}) {
		t.Errorf("%q", got)
	}
	for want, hop := range map[trouble]record.Hop{
		refused:   {Flags: []string{"DC", "URX", "UO"}},
		tooLong:   {Flags: []string{"UO", "UT"}, Details: "upstream_per_try_timeout"},
		noTrouble: {Flags: []string{"UO"}, Details: "via_upstream"},
	} {
		if got := troubleOf(&hop); got != want {
			t.Errorf("trouble %d of %v, want %d", got, hop, want)
		}
	}
	if got := troubleOf(&record.Hop{Flags: []string{"UO"}, Details: "upstream_reset_before_response_started{overflow}"}); got != refused {
		t.Errorf("trouble %d", got)
	}
}

// The worst requests have what proxies say of them, in the order of their way.
func TestWorstHaveHops(t *testing.T) {
	b := newScript(t)
	b.gate()
	r := b.refuse(6*s+300*ms, 503, "")
	b.hop(r, "UF", func(h *record.Hop) { h.Proxy, h.Pod, h.At = record.Inbound, "p1", 0 })
	b.End.Unread = []string{"the access log of fleet/p2 on n2 from 7.0 s on: the pod is no more"}
	v := b.judge()
	hops := v.Worst[0].Hops
	if len(hops) != 2 || hops[0].Proxy != record.AtGateway || hops[1].Proxy != record.Inbound || !slices.Equal(hops[1].Words, []string{"upstream connection failure (UF)"}) {
		t.Errorf("%+v", hops)
	}
	if !slices.Equal(v.Unread, b.End.Unread) {
		t.Errorf("unread: %q", v.Unread)
	}
}

// What a proxy says takes something away, where something does.
func TestFixesForProxies(t *testing.T) {
	for cause, want := range map[string]string{"UH": "outlier detection", "UF": "at another replica", "UT": "a timeout that fits", "UAEX": "let the caller in", "NR": "a route"} {
		b := newScript(t)
		b.gate()
		b.Header.Promise.Failed = number(0)
		b.refuse(6*s+300*ms, 503, cause)
		v := b.judge()
		if !slices.ContainsFunc(v.Fixes, func(f Fix) bool { return strings.Contains(f.Change, want) }) {
			t.Errorf("%s: %+v", cause, v.Fixes)
		}
	}
}
