package claim

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/nines-ha/nines/record"
)

func TestTell(t *testing.T) {
	b := newScript(t)
	b.gate()
	b.event(5*s, record.Machine, "n1", "stopped")
	b.event(6*s, record.Part, "eu/telemetry", "stopped")
	r := b.refuse(6*s+300*ms, 503, "UF,URX", func(h *record.Hop) { h.Attempts, h.Failure, h.Trace = 3, "connection_timeout", "0af7" })
	b.Hops = append(b.Hops, record.Hop{At: r.Sent, Length: ms, Proxy: record.Outbound, Pod: "p1", Node: "n1", Flags: []string{"UF"}, Upstream: "20.0.0.1:5432"})
	later := b.at(7 * s)
	later.ID, later.Of, later.Retries, r.Again = r.ID+".1", r.ID, 1, true
	b.End.Unread = []string{"one log"}
	recount(b.Record)
	all, err := Tell(b.Record, r.ID)
	if err != nil || len(all) != 2 || all[1].ID != r.ID+".1" {
		t.Fatalf("%+v, %v", all, err)
	}
	a := all[0]
	if a.Cause != NodeDown || len(a.Hops) != 1 || len(a.Unread) != 1 {
		t.Errorf("%+v", a)
	}
	var told strings.Builder
	for _, step := range a.Steps {
		told.WriteString(step.Where + ": " + step.Text + "\n")
	}
	for _, want := range []string{
		"client: write of client 0, due 1.3 s after the fault\n", "client: sent on a connection that had served before (c0)\n", "client: answered 503, 5 ms after it was due\n",
		"balancer: the connection went to n2 as the gateway's log says, which it saw up; there to gateway pod g2\n",
		"gateway: gateway g2 on n2: upstream connection failure (UF), retry limit reached (URX), 3 attempts, the last to p1 on n1: \"connection_timeout\", answered 503 after 4 ms, trace 0af7\n",
		"service: no pod of it is known to have answered\n", "store: the store telemetry was stopped\n", "store: sidecar of p1 on n1: upstream connection failure (UF), to 20.0.0.1:5432\n",
		"cluster: machine n1 stopped, 1.3 s before\n",
	} {
		if !strings.Contains(told.String(), want) {
			t.Errorf("the account does not say %q:\n%s", want, told.String())
		}
	}
	if _, err := Tell(b.Record, "nobody"); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("error = %v", err)
	}
}

// Whatever a record says, each of its requests can be told.
func TestTellAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rec := anyRecord(t)
		if len(rec.Requests) == 0 {
			return
		}
		r := rapid.SampledFrom(rec.Requests).Draw(t, "request")
		if all, err := Tell(rec, r.ID); err != nil || len(all[0].Steps) == 0 {
			t.Fatal(all, err)
		}
	})
}
