package report

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nines-ha/nines/drill/claim"
	"github.com/nines-ha/nines/record"
)

var update = flag.Bool("update", false, "write the golden files anew")

const second = time.Second

func started() time.Time { return time.Date(2026, 11, 23, 20, 7, 29, 0, time.UTC) }

func clocks() []claim.Clock {
	return []claim.Clock{
		{Name: "node-monitor-grace-period", Here: 10 * second, AKS: 50 * second},
		{Name: "load balancer probe until the first success", Here: second / 2, AKS: 5 * second},
	}
}

// timeline has a slice a second, from 10 s before the fault to 30 s after it.
func timeline(change func(after int, b *claim.Bucket)) []claim.Bucket {
	var all []claim.Bucket
	for i := range 40 {
		b := claim.Bucket{At: time.Duration(10+i) * second, Length: second, Requests: 200, P50: 4 * time.Millisecond, P99: 21 * time.Millisecond, Ready: 3}
		change(i-10, &b)
		all = append(all, b)
	}
	return all
}

func held() *claim.Verdict {
	return &claim.Verdict{
		Verdict: claim.Held, Because: "all that was promised held: none of 6,000 requests failed in the 30 s after the fault",
		Drill: "rolling-restart", About: "replaces every pod of the service in turn", System: "shop", Region: "westeurope", Local: true, Started: started(),
		Claims: []claim.Claim{
			{Name: "failed", Want: "≤ 0", Got: "0 of 8,000 in the whole run", Outcome: claim.Held},
			{Name: "p99", Want: "≤ 100 ms", Got: "21 ms", Outcome: claim.Held},
			{Name: "writes", Want: "none lost or changed", Got: "none lost, none doubled, none changed of 4,500", Outcome: claim.Held},
		},
		Requests: claim.Requests{Window: 30 * second, Total: 6000, Availability: 1, Run: 8000},
		Latency:  claim.Latency{P50: 4 * time.Millisecond, P95: 12 * time.Millisecond, P99: 21 * time.Millisecond, P999: 48 * time.Millisecond, Max: 61 * time.Millisecond},
		Fault:    claim.Times{At: 20 * second, Detect: 1180 * time.Millisecond, DetectBy: "endpoint vehicle-a terminating", Recover: 0, Restored: 0},
		Budget:   claim.Budget{Month: 2592 * second},
		Writes:   claim.Writes{Checked: true, Acknowledged: 4500},
		Clocks:   clocks(),
		Timeline: timeline(func(int, *claim.Bucket) {}),
		Marks: []claim.Mark{
			{At: 12 * second, Kind: "phase", Text: "steady"},
			{At: 20 * second, Kind: "phase", Text: "inject: rolling-restart"},
			{At: 38 * second, Kind: "phase", Text: "injected"},
		},
	}
}

func refuted() *claim.Verdict {
	v := held()
	v.Verdict, v.Because = claim.Refuted, "availability: promised ≥ 99.9 %, got 89 % (660 of 6,000 failed); 480 of 720 failed or slow because the load balancer did not know yet that a node was gone"
	v.Drill, v.About, v.Twin = "zone-loss", "cuts the power of every node of a zone", "all-in-one-zone"
	v.Claims = []claim.Claim{
		{Name: "availability", Want: "≥ 99.9 %", Got: "89 % (660 of 6,000 failed)", Outcome: claim.Refuted},
		{Name: "p99", Want: "≤ 300 ms", Got: "210 ms", Outcome: claim.Held},
		{Name: "recovery", Want: "≤ 30 s", Got: "12.4 s", Outcome: claim.Held},
		{Name: "writes", Want: "none lost or changed", Got: "1 lost, none doubled, none changed of 4,100", Outcome: claim.Refuted},
	}
	v.Requests = claim.Requests{Window: 30 * second, Total: 6000, Failed: 660, Slow: 60, Availability: 0.89, Run: 8000, RunFailed: 660, RunSlow: 60}
	v.Latency = claim.Latency{P50: 4 * time.Millisecond, P95: 90 * time.Millisecond, P99: 210 * time.Millisecond, P999: 900 * time.Millisecond, Max: 1400 * time.Millisecond}
	v.Fault = claim.Times{At: 20 * second, Detect: 8540 * time.Millisecond, DetectBy: "node westeurope-1-1 unknown", Recover: 12400 * time.Millisecond, Restored: -1, Outage: 3300 * time.Millisecond}
	v.Budget = claim.Budget{Month: 2592 * second, Spent: 3300 * time.Millisecond, Share: 0.001273}
	v.Unmodelled = 14300 * time.Millisecond
	v.Writes = claim.Writes{Checked: true, Acknowledged: 4100, Unknown: 300, Kept: 12, Lost: 1, Examples: []claim.Case{
		{ID: "5c783e4d-01", At: 21 * second, Op: "write", Latency: 12 * time.Millisecond, Result: "200", Pod: "vehicle-a", Node: "westeurope-1-1", Story: "acknowledged, and not found"},
	}}
	v.Worst = []claim.Case{{ID: "5c783e4d-02", At: 20500 * time.Millisecond, Op: "read", Latency: 3 * second, Result: "connect-timeout", Cause: claim.BalancerUnaware, Story: "no connection within 3 s: sent by the load balancer to westeurope-1-1, powered off 500 ms before"}}
	v.Attribution = []claim.Attribution{
		{Cause: claim.BalancerUnaware, Text: "the load balancer did not know yet that a node was gone", Count: 480, Failed: 480, Evidence: []string{"no connection within 3 s: sent by the load balancer to westeurope-1-1, powered off 112 ms before; the load balancer took it out 11 s after that (and 479 requests like it)"}},
		{Cause: claim.NodeDown, Text: "its node was down, but still an endpoint", Count: 180, Failed: 180, Evidence: []string{"no answer within 5 s: on a connection to westeurope-1-1, powered off 3 ms after (and 179 requests like it)"}},
		{Cause: claim.Starved, Text: "too few replicas were ready for the load", Count: 60, Slow: 60, Evidence: []string{"answered after 412 ms; only 1 replica was ready, 2 are the least for the load (and 59 requests like it)"}},
	}
	v.Fixes = []claim.Fix{{Field: "regions.westeurope.zones", Change: "spread the replicas over all of the 3 zones, and take away what keeps them in one", Why: "all of the endpoints were in one zone"}}
	v.Timeline = timeline(func(after int, b *claim.Bucket) {
		switch {
		case after >= 0 && after < 12:
			b.Failed, b.Slow, b.P99, b.Ready = 55, 5, 900*time.Millisecond, 2
		case after >= 12 && after < 20:
			b.P99, b.Ready = 80*time.Millisecond, 2
		}
	})
	v.Marks = []claim.Mark{
		{At: 12 * second, Kind: "phase", Text: "steady"},
		{At: 20 * second, Kind: "phase", Text: "inject: zone-loss"},
		{At: 20*second + 2*time.Millisecond, Kind: "machine", Text: "machine westeurope-1-1 stopped"},
		{At: 28540 * time.Millisecond, Kind: "node", Text: "node westeurope-1-1 unknown"},
		{At: 31100 * time.Millisecond, Kind: "backend", Text: "load balancer: westeurope-1-1 down"},
		{At: 45 * second, Kind: "phase", Text: "heal"},
	}
	return v
}

func inconclusive() *claim.Verdict {
	v := held()
	v.Verdict, v.Because = claim.Inconclusive, "the generator was up to 235 ms behind its schedule"
	v.Doubts = []string{v.Because, "the drill did not run to its end: interrupted"}
	v.Drill, v.About, v.Local, v.Mesh = "pod-kill", "deletes one ready pod of the service with no grace period", false, true
	v.Claims = []claim.Claim{{Name: "capacity", Want: "≥ 1 ready endpoint", Got: "no endpoint was seen", Outcome: claim.Inconclusive}}
	v.Requests = claim.Requests{Window: 30 * second}
	v.Latency = claim.Latency{}
	v.Fault = claim.Times{At: -1, Detect: -1, Recover: -1, Restored: -1}
	v.Writes, v.Clocks, v.Timeline, v.Marks = claim.Writes{}, nil, nil, nil
	return v
}

// retried is refuted with clients that tried again, which saved most.
func retried() *claim.Verdict {
	v := refuted()
	v.Retry = &record.Retry{Attempts: 3, Timeout: second, BackoffMin: second / 5, BackoffMax: 2 * second}
	v.Because = "availability: promised ≥ 99.9 %, got 99.8 % final, 89 % at the first attempt (12 of 6,000 failed, 648 saved by a retry); 12 of 12 failed because the load balancer did not know yet that a node was gone"
	v.Claims[0].Got = "99.8 % final, 89 % at the first attempt (12 of 6,000 failed, 648 saved by a retry)"
	v.Requests.Failed, v.Requests.RunFailed, v.Requests.Availability = 12, 12, 0.998
	v.Requests.Attempts, v.Requests.Amplification = 6702, 1.117
	v.Requests.FirstAttempt = claim.FirstAttempt{Failed: 660, Saved: 648, Availability: 0.89, RunFailed: 661, RunSaved: 649}
	v.Worst[0].Attempts = 3
	v.Worst[0].Story = "3 attempts: connect-timeout (balancer-unaware), connect-timeout (balancer-unaware), connect-timeout (balancer-unaware); the first: no connection within 1 s: sent by the load balancer to westeurope-1-1, powered off 500 ms before"
	v.Attribution = v.Attribution[:1]
	v.Attribution[0].Count, v.Attribution[0].Failed = 12, 12
	v.Saved = []claim.Saved{
		{Cause: claim.BalancerUnaware, Text: "the load balancer did not know yet that a node was gone", Count: 468, Evidence: []string{"2 attempts: connect-timeout (balancer-unaware), 200; the first: no connection within 1 s: sent by the load balancer to westeurope-1-1, powered off 112 ms before (and 467 requests like it)"}},
		{Cause: claim.NodeDown, Text: "its node was down, but still an endpoint", Count: 180, Evidence: []string{"2 attempts: timeout (node-down), 200; the first: no answer within 1 s: on a connection to westeurope-1-1, powered off 3 ms after (and 179 requests like it)"}},
		{Cause: claim.ServerError, Text: "the service answered with an error of its own", Count: 1, Evidence: []string{"2 attempts: 503 (server-error), 200; the first: answered 503 by vehicle-a"}},
	}
	return v
}

func verdicts() map[string]*claim.Verdict {
	return map[string]*claim.Verdict{"held": held(), "refuted": refuted(), "inconclusive": inconclusive(), "retried": retried(), "probed": probed()}
}

// probed let one in of three.
func probed() *claim.Verdict {
	v := held()
	const got = "1 of 3 admitted: plaintext to a pod (answered 403)"
	v.Verdict, v.Because = claim.Refuted, "refused: promised all 3 probes refused, each in a log, got "+got
	v.Drill, v.About, v.Twin, v.Mesh = "plaintext-probe", "asks the service and its sidecar in plaintext", "permissive", true
	v.Claims = append(v.Claims, claim.Claim{Name: "refused", Want: "all 3 probes refused, each in a log", Got: got, Outcome: claim.Refuted})
	v.Probes = []claim.Probe{
		{Name: "plaintext to the Service", State: record.Refused, Text: "reset before any answer", Proof: "NR filter_chain_not_found from 10.244.1.7:40010 to 10.244.2.3:8080 (log of vehicle-a)"},
		{Name: "plaintext to a pod", State: record.Admitted, Text: "answered 403"},
		{Name: "plaintext to a sidecar's own port", State: record.Refused, Text: "closed before any answer", Proof: "tcp.BlackHoleCluster.downstream_cx_total from 0 to 1 (statistics of vehicle-a: Envoy logs none of it)"},
	}
	return v
}

// golden compares with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; go test ./drill/report -update writes it", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}

// hostile is what a system under test could say of itself.
const hostile = "</script><script>alert(1)</script> \x1b[2J\x07\nnew line \"'& <b>\u202e"

// crowded has much of everything, and every text of it is hostile or long.
func crowded() *claim.Verdict {
	v := refuted()
	v.Because = hostile
	v.Drill, v.System, v.Twin = hostile, hostile, hostile
	v.Fault.DetectBy = hostile
	v.Retry = &record.Retry{Attempts: 3}
	for range 12 {
		v.Claims = append(v.Claims, claim.Claim{Name: hostile, Want: hostile, Got: hostile, Outcome: claim.Refuted})
		v.Attribution = append(v.Attribution, claim.Attribution{Cause: hostile, Text: hostile, Count: 1, Failed: 1, Evidence: []string{hostile}})
		v.Saved = append(v.Saved, claim.Saved{Cause: hostile, Text: hostile, Count: 1, Evidence: []string{hostile}})
		v.Probes = append(v.Probes, claim.Probe{Name: hostile, State: hostile, Text: hostile, Proof: hostile})
		v.Fixes = append(v.Fixes, claim.Fix{Field: hostile, Change: hostile, Why: hostile})
		v.Clocks = append(v.Clocks, claim.Clock{Name: hostile, Here: 1, AKS: second})
		v.Doubts = append(v.Doubts, hostile)
		v.Worst = append(v.Worst, claim.Case{ID: hostile, Op: hostile, Result: hostile, Pod: hostile, Node: hostile, Cause: hostile, Story: hostile})
		v.Marks = append(v.Marks, claim.Mark{At: 20 * second, Kind: hostile, Text: hostile})
	}
	return v
}
