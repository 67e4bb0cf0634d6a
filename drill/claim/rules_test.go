package claim

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nines-ha/nines/record"
)

// Each rule with a record that shows just its reason.
func TestRules(t *testing.T) {
	powerOff := func(b *script) {
		b.event(5*s, record.Machine, "n1", "stopped")
		b.event(14*s+800*ms, record.Backend, "n1", "down")
	}
	kill := func(b *script) {
		b.on(5*s, record.Pod, "p1", "deleted", "n1")
		b.on(5*s+100*ms, record.Endpoint, "p1", "gone", "n1")
		for i := range b.Requests { // from then on the others answer
			if r := &b.Requests[i]; r.Scheduled >= 5*s && r.Pod == "p1" {
				r.Pod, r.Node = "p2", "n2"
			}
		}
	}
	const at = 6*s + 300*ms // due on connection c0, which p1 answers
	tests := []struct {
		name  string
		make  func(*script) *record.Request
		cause string
		story []string
	}{
		{"not sent", func(b *script) *record.Request { return b.fail(at, record.NotSent, 0) }, Generator, []string{"did not send"}},
		{"taken up late", func(b *script) *record.Request {
			r := b.slow(at, 350*ms)
			r.Taken = at + 90*ms
			return r
		}, Generator, []string{"90 ms after it was due", "260 ms later"}},
		{"late, but slow anyway", func(b *script) *record.Request {
			r := b.slow(at, 500*ms)
			r.Taken = at + 90*ms
			return r
		}, Unattributed, nil},
		{"waited for one of its client", func(b *script) *record.Request {
			powerOff(b)
			b.fail(at, record.Timeout, 5*s)
			r := b.fail(at+300*ms, record.Timeout, 5*s)
			r.Conn, r.Sent = "", 0
			return r
		}, NodeDown, []string{"waited 5 s for a connection", "request r630", "powered off 1.3 s before"}},
		{"waited, and was slow", func(b *script) *record.Request {
			powerOff(b)
			b.fail(at, record.Timeout, 5*s)
			r := b.slow(at+300*ms, 4750*ms)
			r.Waited = 4700 * ms
			return r
		}, NodeDown, []string{"waited 4.7 s for a connection"}},
		{"too many requests", func(b *script) *record.Request { return b.answer(at, 503, "too many requests at once; try again") }, Shed, []string{"refused with 503 by p1 on n1"}},
		{"limit of a vehicle", func(b *script) *record.Request { return b.answer(at, 429, "") }, Shed, []string{"429"}},
		{"store restarts", func(b *script) *record.Request {
			b.event(6*s, record.Part, "eu/telemetry", "stopped").Reason = "its program ended"
			b.event(7*s, record.Part, "eu/telemetry", "ready")
			return b.answer(at, 503, "the store cannot be reached")
		}, Database, []string{"answered 503", "telemetry was stopped (its program ended) from 1 s after the fault for 1 s"}},
		{"store was back a moment ago", func(b *script) *record.Request {
			b.event(3*s+400*ms, record.Part, "eu/telemetry", "stopped")
			b.event(3*s+500*ms, record.Part, "eu/telemetry", "ready")
			return b.answer(at, 504, "")
		}, Database, []string{"1.6 s before the fault"}},
		{"store was back long ago", func(b *script) *record.Request {
			b.event(2*s, record.Part, "eu/telemetry", "stopped")
			b.event(3*s, record.Part, "eu/telemetry", "ready")
			return b.answer(at, 504, "")
		}, ServerError, []string{"answered 504"}},
		{"store stalls", func(b *script) *record.Request {
			b.event(5*s, record.Fault, "eu/telemetry", "done").Text = "eu/telemetry holds still"
			b.event(13*s, record.Fault, "eu/telemetry", "undone")
			return b.slow(at, 4*s)
		}, Database, []string{"answered after 4 s", "halted (eu/telemetry holds still)"}},
		{"another part fails", func(b *script) *record.Request {
			b.event(6*s, record.Part, "eu/apiserver", "stopped")
			return b.answer(at, 503, "")
		}, ServerError, nil},
		{"store blamed by the service alone", func(b *script) *record.Request {
			return b.answer(at, 503, "the store cannot be reached; sending the request again is safe")
		}, Database, []string{"the store cannot be reached"}},
		{"pod killed", func(b *script) *record.Request {
			kill(b)
			return b.fail(5*s+100*ms, record.Reset, 2*ms)
		}, PodEnded, []string{"connection reset", "pod p1 on n1, which this connection was to, was deleted 102 ms before"}},
		{"pod killed, which the flow shows", func(b *script) *record.Request {
			b.on(6*s, record.Pod, "p1", "ended", "n1")
			b.event(6*s+1, record.Pod, "p1", "deleted")
			b.Events[len(b.Events)-2].Reason = "exit code 137"
			for i := range b.Requests {
				if r := &b.Requests[i]; r.Scheduled >= 6*s && r.Pod == "p1" {
					r.Pod, r.Node = "p2", "n2"
				}
			}
			r := b.fail(at, record.Timeout, 5*s)
			r.Conn, r.Reused = "new", false
			b.Flows = append(b.Flows, record.Flow{Conn: "new", Node: "n1"})
			return r
		}, PodEnded, []string{"the only one where it was sent", "exit code 137"}},
		{"pod ended, told to the second", func(b *script) *record.Request {
			b.on(at+800*ms, record.Pod, "p1", "ended", "n1")
			b.only(at, "p2", "n2")
			return b.fail(at, record.Reset, 2*ms)
		}, PodEnded, []string{"ended 798 ms after"}},
		{"pod ended later", func(b *script) *record.Request {
			b.on(at+1100*ms, record.Pod, "p1", "ended", "n1")
			b.only(at, "p2", "n2")
			return b.fail(at, record.Reset, 2*ms)
		}, ConnectionReset, nil},
		{"pod drains", func(b *script) *record.Request {
			b.on(5*s, record.Pod, "p1", "terminating", "n1")
			b.on(5*s, record.Endpoint, "p1", "terminating", "n1")
			return b.fail(at, record.Reset, 2*ms) // p1 answers others until the end
		}, ConnectionReset, []string{"on a connection that had served before", "sent to p1 on n1"}},
		{"pod says 503 at its end", func(b *script) *record.Request {
			kill(b)
			r := b.answer(5*s+100*ms, 503, "shutting down")
			r.Pod, r.Node = "p1", "n1"
			return r
		}, PodEnded, []string{"which answered"}},
		{"dialed a pod that is gone", func(b *script) *record.Request {
			kill(b)
			return b.fail(5*s+50*ms, record.ConnectFailed, 2*ms)
		}, PodEnded, []string{"pod p1 on n1, an endpoint that it can have been sent to"}},
		{"power cut under a connection", func(b *script) *record.Request {
			powerOff(b)
			return b.fail(6*s, record.Timeout, 5*s)
		}, NodeDown, []string{"on a connection to n1, powered off 1 s before", "took it out 9.8 s after"}},
		{"refused by a dying machine", func(b *script) *record.Request {
			b.event(at-20*ms, record.Machine, "n1", "stopped")
			return b.fail(at, record.ConnectRefused, 20*ms)
		}, BalancerUnaware, []string{"connection refused", "powered off 20 ms before"}},
		{"refused, and a machine is dead for long", func(b *script) *record.Request {
			powerOff(b)
			return b.fail(at, record.ConnectRefused, 20*ms)
		}, NotServing, nil},
		{"node hangs, and thaws", func(b *script) *record.Request {
			b.event(6*s, record.Machine, "n1", "frozen")
			b.event(6*s+900*ms, record.Machine, "n1", "running")
			return b.slow(at, 700*ms)
		}, NodeDown, []string{"answered after 700 ms", "hung 300 ms before"}},
		{"node hung long ago", func(b *script) *record.Request {
			b.event(5*s, record.Machine, "n1", "frozen")
			b.event(5*s+900*ms, record.Machine, "n1", "running")
			return b.slow(at, 700*ms)
		}, Unattributed, nil},
		{"zone cut off", func(b *script) *record.Request {
			b.event(5*s, record.Zone, "eu-1", "cut")
			return b.fail(at, record.Timeout, 5*s)
		}, NodeDown, []string{"cut off with zone eu-1 1.3 s before", "never took it out"}},
		{"new connection to a hung node", func(b *script) *record.Request {
			b.event(5*s, record.Machine, "n1", "frozen")
			r := b.fail(at, record.Timeout, 5*s)
			r.Conn, r.Reused = "new", false
			b.Flows = append(b.Flows, record.Flow{Conn: "new", Node: "n1"})
			return r
		}, BalancerUnaware, []string{"connected to n1, hung 1.3 s before"}},
		{"dialed before the node went dark", func(b *script) *record.Request {
			b.event(at+20*ms, record.Machine, "n1", "stopped")
			return b.fail(at, record.ConnectTimeout, 3*s)
		}, NodeDown, []string{"powered off 20 ms after"}},
		{"dialed while a node is dark", func(b *script) *record.Request {
			powerOff(b)
			return b.fail(at, record.ConnectTimeout, 3*s)
		}, BalancerUnaware, []string{"no connection within 3 s", "still sent some to n1, powered off 1.3 s before"}},
		{"dialed when the node was taken out", func(b *script) *record.Request {
			powerOff(b)
			return b.fail(16*s, record.ConnectTimeout, 3*s)
		}, ConnectTimeout, []string{"nobody answered the handshake within 3 s"}},
		{"nobody anywhere", func(b *script) *record.Request {
			for i := 1; i <= 3; i++ {
				b.on(6*s, record.Endpoint, fmt.Sprint("p", i), "gone", fmt.Sprint("n", i))
			}
			return b.fail(at, record.ConnectTimeout, 3*s)
		}, NoEndpoint, []string{"no replica anywhere took requests from 1 s after the fault"}},
		{"no backend left", func(b *script) *record.Request {
			for i := 1; i <= 3; i++ {
				b.event(6*s, record.Backend, fmt.Sprint("n", i), "down")
			}
			return b.fail(at, record.ConnectTimeout, 3*s)
		}, NoEndpoint, []string{"none of 3 nodes left"}},
		{"nobody on the node", func(b *script) *record.Request {
			b.on(6*s, record.Endpoint, "p1", "gone", "n1")
			b.event(12*s, record.Backend, "n1", "down")
			return b.fail(at, record.ConnectTimeout, 3*s)
		}, NoEndpoint, []string{"still sent some to n1, where no replica took requests from 1 s after the fault", "took n1 out 6 s after it was empty"}},
		{"node does not know its new endpoint yet", func(b *script) *record.Request {
			b.on(6*s, record.Endpoint, "p1", "gone", "n1")
			b.on(at-5*ms, record.Endpoint, "p4", "ready", "n1")
			r := b.slow(at, 1030*ms)
			r.Reused, r.Sent, r.Pod = false, at+1025*ms, "p4"
			return r
		}, NoEndpoint, []string{"answered after 1.03 s; the load balancer sent it to n1, where no replica took requests until 5 ms before"}},
		{"a leaving pod still serves", func(b *script) *record.Request {
			b.on(6*s, record.Endpoint, "p1", "terminating", "n1")
			return b.fail(at, record.ConnectTimeout, 3*s)
		}, ConnectTimeout, nil},
		{"ready, but does not listen", func(b *script) *record.Request {
			b.on(6*s, record.Endpoint, "p4", "ready", "n1")
			return b.fail(at, record.ConnectRefused, 2*ms)
		}, NotServing, []string{"connection refused", "pod p4", "ready 302 ms before"}},
		{"one leaves and another does not listen", func(b *script) *record.Request {
			b.on(5*s, record.Pod, "p2", "terminating", "n2")
			b.on(5*s, record.Endpoint, "p2", "terminating", "n2")
			b.on(5*s, record.Endpoint, "p4", "ready", "n1")
			b.only(6*s, "p1", "n1")
			return b.fail(at, record.ConnectRefused, 2*ms)
		}, NotServing, []string{"pod p4"}},
		{"one ends and another begins to serve", func(b *script) *record.Request {
			b.on(5*s, record.Pod, "p2", "terminating", "n2")
			b.on(5*s, record.Endpoint, "p2", "terminating", "n2")
			b.on(at-100*ms, record.Endpoint, "p4", "ready", "n1")
			b.only(6*s, "p1", "n1")
			b.at(at + 500*ms).Pod = "p4"
			return b.fail(at, record.ConnectRefused, 2*ms)
		}, PodEnded, []string{"pod p2 on n2, an endpoint that it can have been sent to, was told to end 1.302 s before"}},
		{"refused by somebody", func(b *script) *record.Request { return b.fail(at, record.ConnectRefused, 2*ms) }, NotServing, []string{"3 endpoints were said to be ready"}},
		{"ready, but cannot serve", func(b *script) *record.Request {
			b.on(6*s, record.Endpoint, "p4", "ready", "n1")
			r := b.answer(at, 503, "not started")
			r.Pod = "p4"
			return r
		}, NotServing, []string{"answered 503; pod p4, which answered, was said to be ready 305 ms before"}},
		{"served since it was ready", func(b *script) *record.Request {
			b.on(6*s, record.Endpoint, "p4", "ready", "n1")
			b.at(6*s + 10*ms).Pod = "p4"
			r := b.answer(at, 503, "not now")
			r.Pod = "p4"
			return r
		}, ServerError, []string{"answered 503 by p4 on n1"}},
		{"too few replicas", func(b *script) *record.Request {
			b.on(6*s, record.Endpoint, "p2", "gone", "n2")
			b.on(6*s, record.Endpoint, "p3", "gone", "n3")
			b.only(6*s, "p1", "n1")
			return b.slow(at, 400*ms)
		}, Starved, []string{"only 1 replica was ready, 2 are the least"}},
		{"too few are said to be ready, and all answer", func(b *script) *record.Request {
			b.on(6*s, record.Endpoint, "p2", "unready", "n2")
			b.on(6*s, record.Endpoint, "p3", "unready", "n3")
			return b.slow(at, 400*ms)
		}, Unattributed, nil},
		{"busy machine", func(b *script) *record.Request {
			b.Seconds[6].CPU = 0.97
			return b.slow(at, 400*ms)
		}, Machine, []string{"97 % busy"}},
		{"busy machine does not answer 500", func(b *script) *record.Request {
			b.Seconds[6].CPU = 0.97
			return b.answer(at, 500, "")
		}, ServerError, nil},
		{"handshake", func(b *script) *record.Request { return b.fail(at, record.ConnectTimeout, 3*s) }, ConnectTimeout, []string{"not known"}},
		{"closed", func(b *script) *record.Request { return b.fail(at, record.Closed, 2*ms) }, ConnectionReset, []string{"closed before the answer was whole"}},
		{"not found", func(b *script) *record.Request { return b.answer(at, 404, "this vehicle has never reported") }, ServerError, []string{"answered 404 by p1 on n1", "never reported"}},
		{"wrong answer", func(b *script) *record.Request {
			r := b.answer(at, 200, "not a receipt")
			r.Error = record.WrongAnswer
			return r
		}, ServerError, []string{"wrong-answer", "not a receipt"}},
		{"no reason to be seen", func(b *script) *record.Request { return b.fail(at, record.Timeout, 5*s) }, Unattributed, []string{"no answer within 5 s", "sent to p1 on n1", "nothing happened within 5 s"}},
		{"slow replica", func(b *script) *record.Request {
			r := b.slow(at, 400*ms)
			r.First = r.Done - 10*ms
			return r
		}, SlowAnswer, []string{"p1 on n1", "389 ms of it between sending and the first byte"}},
		{"slow for no reason", func(b *script) *record.Request {
			b.event(7*s, record.Part, "eu/scheduler", "failed")
			return b.slow(at, 400*ms)
		}, Unattributed, []string{"the nearest turn was part eu/scheduler failed, 300 ms after"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			b := newScript(t)
			id := tc.make(b).ID
			v := b.judge()
			for _, c := range v.Worst {
				if c.ID != id {
					continue
				}
				if c.Cause != tc.cause {
					t.Errorf("cause %s, want %s: %s", c.Cause, tc.cause, c.Story)
				}
				for _, part := range tc.story {
					if !strings.Contains(c.Story, part) {
						t.Errorf("the story %q does not say %q", c.Story, part)
					}
				}
				return
			}
			t.Errorf("request %s is not among the worst: %+v", id, v.Worst)
		})
	}
}

// What waits for something that nothing explains is not explained by it.
func TestInheritNothing(t *testing.T) {
	b := newScript(t)
	b.fail(6*s+300*ms, record.Timeout, 5*s)
	r := b.fail(6*s+600*ms, record.Timeout, 5*s)
	r.Conn, r.Sent = "", 0
	v := b.judge()
	if len(v.Attribution) != 1 || v.Attribution[0].Cause != Unattributed || v.Attribution[0].Count != 2 {
		t.Errorf("%+v", v.Attribution)
	}
}

// Evidence is a few sentences, with how many requests each stands for.
func TestEvidence(t *testing.T) {
	b := newScript(t)
	for i := range 6 {
		node := fmt.Sprint("n", i%3+1)
		b.event(7*s, record.Machine, node, "stopped")
	}
	for i := range 90 {
		b.fail(8*s+time.Duration(i)*10*ms, record.Timeout, 5*s)
	}
	v := b.judge()
	if len(v.Attribution) != 1 || len(v.Attribution[0].Evidence) != 3 {
		t.Fatalf("%+v", v.Attribution)
	}
	for _, e := range v.Attribution[0].Evidence {
		if !strings.HasSuffix(e, "(and 29 requests like it)") {
			t.Errorf("%q", e)
		}
	}
}
