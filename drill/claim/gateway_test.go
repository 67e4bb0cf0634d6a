package claim

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/nines-ha/nines/record"
)

// gate puts a gateway of three pods in front of the service, g1 on n1 and so on.
// Connection c0 goes to n2, so that what p1 answers came through g2.
func (b *script) gate() {
	b.Header.Mesh, b.Header.Gateway = true, &record.Gateway{Namespace: "ingress", Name: "gateway", Replicas: 3}
	for i := 1; i <= 3; i++ {
		b.on(0, record.Pod, fmt.Sprint("g", i), "ready", fmt.Sprint("n", i))
		b.on(0, record.GatewayKind, fmt.Sprint("g", i), "ready", fmt.Sprint("n", i))
	}
	for i := range 30 {
		b.Flows = append(b.Flows, record.Flow{Conn: fmt.Sprint("c", i), Node: fmt.Sprint("n", (i+1)%3+1)})
	}
}

func TestGatewayRules(t *testing.T) {
	const at = 6*s + 300*ms // due on connection c0, through g2, which p1 answers
	tests := []struct {
		name  string
		make  func(*script) *record.Request
		cause string
		story []string
	}{
		{"power cut of the gateway's node", func(b *script) *record.Request {
			b.event(5*s, record.Machine, "n2", "stopped")
			b.event(14*s+800*ms, record.Backend, "n2", "down")
			return b.fail(at, record.Timeout, 5*s)
		}, NodeDown, []string{"on a connection to n2, powered off 1.3 s before", "took it out 9.8 s after"}},
		{"power cut of the replica's node alone", func(b *script) *record.Request {
			b.event(5*s, record.Machine, "n1", "stopped")
			return b.fail(at, record.Timeout, 5*s)
		}, NodeDown, []string{"the gateway can have sent it to p1 on n1, powered off 1.3 s before"}},
		{"gateway pod killed", func(b *script) *record.Request {
			b.on(at-100*ms, record.Pod, "g2", "deleted", "n2")
			b.on(at-100*ms, record.GatewayKind, "g2", "gone", "n2")
			for i := range b.Requests { // the other gateways carry all from then on
				if r := &b.Requests[i]; r.Scheduled >= at-300*ms && r.Scheduled != at {
					r.Conn = "c2"
				}
			}
			return b.fail(at, record.Reset, 2*ms)
		}, PodEnded, []string{"connection reset; gateway pod g2 on n2, the only one where it was sent, was deleted 102 ms before"}},
		{"gateway pod drains", func(b *script) *record.Request {
			b.on(5*s, record.Pod, "g2", "terminating", "n2")
			b.on(5*s, record.GatewayKind, "g2", "terminating", "n2")
			return b.fail(at, record.Reset, 2*ms)
		}, ConnectionReset, []string{"sent to g2 on n2"}},
		{"replica killed behind a gateway says nothing of a connection", func(b *script) *record.Request {
			b.on(at-100*ms, record.Pod, "p1", "deleted", "n1")
			b.on(at-100*ms, record.Endpoint, "p1", "gone", "n1")
			b.only(at-100*ms, "p3", "n3")
			return b.fail(at, record.Reset, 2*ms)
		}, ConnectionReset, nil},
		{"replica says 503 at its end", func(b *script) *record.Request {
			b.on(at-100*ms, record.Pod, "p1", "terminating", "n1")
			b.on(at-100*ms, record.Endpoint, "p1", "gone", "n1")
			b.only(at-300*ms, "p3", "n3")
			r := b.answer(at, 503, "shutting down")
			r.Pod, r.Node = "p1", "n1"
			return r
		}, PodEnded, []string{"pod p1 on n1, which answered"}},
		{"no gateway on a node", func(b *script) *record.Request {
			b.on(6*s, record.GatewayKind, "g1", "gone", "n1")
			b.event(12*s, record.Backend, "n1", "down")
			return b.fail(at, record.ConnectTimeout, 3*s)
		}, NoEndpoint, []string{"still sent some to n1, where no gateway pod took requests from 1 s after the fault"}},
		{"no replica on a node is no matter", func(b *script) *record.Request {
			b.on(6*s, record.Endpoint, "p1", "gone", "n1")
			return b.fail(at, record.ConnectTimeout, 3*s)
		}, ConnectTimeout, nil},
		{"dialed while a gateway's node is dark", func(b *script) *record.Request {
			b.event(5*s, record.Machine, "n1", "stopped")
			return b.fail(at, record.ConnectTimeout, 3*s)
		}, BalancerUnaware, []string{"still sent some to n1, powered off 1.3 s before"}},
		{"a gateway pod that was said to be ready too early", func(b *script) *record.Request {
			b.on(6*s, record.GatewayKind, "g4", "ready", "n1")
			return b.fail(at, record.ConnectRefused, 2*ms)
		}, NotServing, []string{"gateway pod g4, an endpoint that it can have been sent to, was said to be ready 302 ms before"}},
		{"a replica that cannot serve yet", func(b *script) *record.Request {
			b.on(6*s, record.Endpoint, "p4", "ready", "n1")
			r := b.answer(at, 503, "not started")
			r.Pod = "p4"
			return r
		}, NotServing, []string{"answered 503; pod p4, which answered, was said to be ready 305 ms before"}},
		{"the service's own error", func(b *script) *record.Request { return b.answer(at, 500, "") }, ServerError, []string{"answered 500 by p1 on n1"}},
		{"too few replicas behind the gateway", func(b *script) *record.Request {
			b.on(6*s, record.Endpoint, "p2", "gone", "n2")
			b.on(6*s, record.Endpoint, "p3", "gone", "n3")
			b.only(6*s, "p1", "n1")
			return b.slow(at, 400*ms)
		}, Starved, []string{"only 1 replica was ready, 2 are the least"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			b := newScript(t)
			b.gate()
			expect(t, b, tc.make(b).ID, tc.cause, tc.story)
		})
	}
}

// expect judges, and looks for one request among the worst.
func expect(t *testing.T, b *script, id, cause string, story []string) *Verdict {
	t.Helper()
	v := b.judge()
	for _, c := range v.Worst {
		if c.ID != id {
			continue
		}
		if c.Cause != cause {
			t.Errorf("cause %s, want %s: %s", c.Cause, cause, c.Story)
		}
		for _, part := range story {
			if !strings.Contains(c.Story, part) {
				t.Errorf("the story %q does not say %q", c.Story, part)
			}
		}
		return v
	}
	t.Errorf("request %s is not among the worst: %+v", id, v.Worst)
	return v
}

// What is promised of replicas is about those of the service, also behind a
// gateway, and the first to notice may be the gateway.
func TestGatewayIsNoReplica(t *testing.T) {
	b := newScript(t)
	b.gate()
	b.Header.Promise.Capacity, b.Header.Promise.Restored = 3, true
	b.on(7*s, record.GatewayKind, "g1", "unready", "n1")
	v := b.judge()
	if c := claimNamed(t, v, "capacity"); c.Outcome != Held {
		t.Errorf("%+v", c)
	}
	if c := claimNamed(t, v, "restored"); c.Outcome != Held {
		t.Errorf("%+v", c)
	}
	if v.Fault.DetectBy != "gateway g1 unready" || v.Fault.Detect != 2*s {
		t.Errorf("%+v", v.Fault)
	}
	if v.Timeline[10].Ready != 3 {
		t.Errorf("%d ready", v.Timeline[10].Ready)
	}
}

// Without a mesh the gateway's turns say nothing: they are somebody else's.
func TestNoGatewayWithoutAMesh(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rec := anyRecord(t)
		rec.Events = nil // no detection by the gateway's own turns
		rec.Header.Mesh = false
		rec.Header.Gateway = nil
		before := mustJudge(t, rec)
		rec.Header.Gateway = &record.Gateway{Name: "g", Replicas: 3}
		after := mustJudge(t, rec)
		if a, b := fmt.Sprintf("%+v", before.Attribution), fmt.Sprintf("%+v", after.Attribution); a != b {
			t.Fatalf("%s\n%s", a, b)
		}
	})
}
