package impair

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/nines-ha/nines/internal/namespace"
)

const (
	table      = "ip nines_impair"
	nftTimeout = 10 * time.Second
)

// source is what the proxy's own connections to the service come from, so that
// they are told from all others. Nobody else uses it; a sidecar of Istio has
// 127.0.0.6.
var source = netip.AddrFrom4([4]byte{127, 78, 73, 1})

const erasure = "add table " + table + "\ndelete table " + table + "\n"

// release leads nobody anywhere any more, and keeps the connections that go
// through the proxy. The kernel translates what it has translated before only
// while a namespace has chains that translate and a rule that knows connections.
const release = "add table " + table + "\nflush table " + table + `
add chain ` + table + ` kept { type filter hook input priority filter; policy accept; }
add rule ` + table + ` kept ct state established accept
`

// ruleset writes the table. The first chain that translates a connection decides,
// and a sidecar has chains of its own at priority -100. What comes from outside
// is the sidecar's first, which alone can end mutual TLS: arriving is after it,
// and decides in a pod without one. What the sidecar then sends to the service is
// this table's: leaving is before it.
func ruleset(i Impairment, proxy uint16) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	b.WriteString(erasure)
	say("add table %s", table)
	if i.Port != 0 {
		say("add chain %s arriving { type nat hook prerouting priority -90; policy accept; }", table)
		say("add chain %s leaving { type nat hook output priority -110; policy accept; }", table)
		say("add rule %s arriving tcp dport %d redirect to :%d", table, i.Port, proxy)
		say("add rule %s leaving ip saddr %s accept", table, source)
		say("add rule %s leaving fib daddr type local tcp dport %d redirect to :%d", table, i.Port, proxy)
		// What still arrives at the port itself belongs to a connection from before.
		say("add chain %s before { type filter hook input priority filter; policy accept; }", table)
		say("add rule %s before ip saddr != %s tcp dport %d reject with tcp reset", table, source, i.Port)
	}
	if len(i.Drop) > 0 {
		// After any translation: a sidecar's own packets count, not those to it.
		say("add chain %s lost { type filter hook output priority filter; policy accept; }", table)
	}
	for _, to := range i.Drop {
		port := "meta l4proto tcp"
		if to.Port() != 0 {
			port = fmt.Sprintf("tcp dport %d", to.Port())
		}
		say("add rule %s lost ip daddr %s %s drop", table, to.Addr(), port)
	}
	return b.String()
}

// load runs nft in the pod's namespace.
func load(ctx context.Context, pod *namespace.Set, script string) error {
	nft, err := exec.LookPath("nft")
	if err != nil {
		nft = "/usr/sbin/nft"
		if _, err := os.Stat(nft); err != nil {
			return fmt.Errorf("the nft program is missing; install the package nftables")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, nftTimeout)
	defer cancel()
	return pod.Do(func() error {
		cmd := exec.CommandContext(ctx, nft, "-f", "-")
		cmd.Stdin = strings.NewReader(script)
		cmd.WaitDelay = time.Second
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s -f -: %w: %s", nft, err, bytes.TrimSpace(out.Bytes()))
		}
		return nil
	})
}
