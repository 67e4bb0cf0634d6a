package balancer

import (
	"flag"
	"net/netip"
	"os"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestRuleset(t *testing.T) {
	other := netip.MustParseAddr("20.0.0.2")
	marks := []uint32{markBase | 1, markBase | 2, markBase | 5}
	script, chains := ruleset([]rule{
		{frontend: frontend, protocol: TCP, port: 80, idle: DefaultIdle, reset: true, healthy: marks, pool: 3},
		{frontend: frontend, protocol: UDP, port: 53, affinity: SourceIPProtocol, idle: DefaultIdle, healthy: marks[:2], pool: 3},
		{frontend: other, protocol: TCP, port: 443, affinity: SourceIP, idle: 30 * time.Minute, pool: 2},
		{frontend: other, protocol: TCP, port: 8443, idle: 1500 * time.Millisecond, pool: 1},
	}, []netip.Addr{frontend, other}, marks, []string{"rule0", "rule7", "rule7new"})
	golden(t, "testdata/ruleset.nft", script)
	if len(chains) != 7 {
		t.Errorf("chains %v", chains)
	}
}

func TestRelay(t *testing.T) {
	golden(t, "testdata/relay.nft", relay("uplink", []uint32{markBase | 1, markBase | 0x1234}))
	golden(t, "testdata/relay-empty.nft", relay("uplink", nil))
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if string(want) != got {
		t.Errorf("%s differs; if that is meant, run: make golden\ngot:\n%s", file, got)
	}
}
