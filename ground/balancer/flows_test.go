package balancer

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestFlowsTellTheBackendOfEachFlow(t *testing.T) {
	r := newRegion(t, 3)
	p := r.open(Config{})
	if flows, err := p.Flows(t.Context()); err != nil || len(flows) != 0 {
		t.Errorf("before any balancer: %v, %v", flows, err)
	}
	must(t, p.Apply(t.Context(), web(Probe{}), r.backends()))
	if flows, err := p.Flows(t.Context()); err != nil || len(flows) != 0 {
		t.Errorf("before any flow: %v, %v", flows, err)
	}
	want := map[string]string{}
	for i := range 20 {
		flow, err := r.dial(patience)
		must(t, err)
		who, err := flow.ask(patience)
		must(t, err)
		want[flow.LocalAddr().String()] = who
		if i%2 == 0 {
			flow.Close() // it is remembered for a while
		} else {
			defer flow.Close()
		}
	}
	check := func(when string) {
		t.Helper()
		flows, err := p.Flows(t.Context())
		must(t, err)
		got := map[string]string{}
		for _, f := range flows {
			got[f.Client.String()] = f.Node
			if f.Frontend != netip.AddrPortFrom(frontend, port) {
				t.Errorf("%s: %s went to %s", when, f.Client, f.Frontend)
			}
		}
		for client, node := range want {
			if got[client] != node {
				t.Errorf("%s: %s is told to go to %q; it went to %s", when, client, got[client], node)
			}
		}
	}
	check("with all backends")

	// A flow whose backend never answers is told, also when the backend has left.
	dead := r.machines[0]
	r.cut(dead)
	_, err := r.dial(short)
	for ; err == nil; _, err = r.dial(short) {
	}
	flows, err := p.Flows(t.Context())
	must(t, err)
	if n := count(flows, dead.Node); n == 0 {
		t.Error("the flow that found no answer is not told")
	}
	must(t, p.Apply(t.Context(), web(Probe{}), r.backends()[1:]))
	check("after a backend left")
}

func count(flows []Flow, node string) (n int) {
	for _, f := range flows {
		if f.Node == node {
			n++
		}
	}
	return n
}

func TestReadFlowsRefusesWhatItDoesNotKnow(t *testing.T) {
	const good = `{"nftables": [{"metainfo": {"version": "1"}}, {"map": {"name": "flows", "elem": [[{"elem": {"val": {"concat": ["10.9.0.2", 1024, "20.0.0.1", 80]}, "expires": 9}}, %d]]}}]}`
	flows, err := readFlows(strings.NewReader(fmt.Sprintf(good, markBase|closing|7)), map[int]string{7: "node-7"})
	if err != nil || len(flows) != 1 || flows[0].Node != "node-7" || flows[0].Client.Port() != 1024 {
		t.Errorf("%v, %v", flows, err)
	}
	for _, bad := range []string{
		strings.Replace(good, `, 80]`, `]`, 1), strings.Replace(good, "10.9.0.2", "nobody", 1),
		strings.Replace(good, "1024", "70000", 1), good[:len(good)-40], "nothing",
	} {
		if flows, err := readFlows(strings.NewReader(bad), nil); err == nil {
			t.Errorf("%s: %v", bad, flows)
		}
	}
}

func TestManyFlowsAreListed(t *testing.T) {
	r := newRegion(t, 1)
	p := r.open(Config{})
	must(t, p.Apply(t.Context(), web(Probe{}), r.backends()))
	const many = 10_000
	fillFlows(t, p, many)
	began := time.Now()
	flows, err := p.Flows(t.Context())
	must(t, err)
	if len(flows) < many || count(flows, "node-0") < many {
		t.Errorf("%d flows are told, %d of them with their node", len(flows), count(flows, "node-0"))
	}
	t.Logf("%d flows in %s", len(flows), time.Since(began).Round(time.Millisecond))
}

func fillFlows(t testing.TB, p *Plane, n int) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "add element %s flows { ", table)
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "100.65.%d.%d . %d . 20.0.0.1 . 80 : %#x", i>>8&255, i&255, 1024+i%60000, markBase|1)
	}
	b.WriteString(" }\n")
	must(t, p.load(t.Context(), p.router, b.String()))
}
