package balancer

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

const (
	table      = "ip nines_balancer"
	relayTable = "netdev nines_balancer" // in a zone's router
	markBase   = 0x4e000000              // "N"; the low bits are the index of a backend
	closing    = 0x00800000              // in a remembered mark: the client has sent FIN or RST
	maxIndex   = 0xffff
	flowLimit  = 262144
	linger     = time.Minute // for the last packets of a flow that closes
	hashSeed   = 0x9e3779b9  // fixed: the same flow and pool give the same backend every time
)

// A rule is one balanced port with the marks of its pool.
type rule struct {
	frontend netip.Addr
	protocol Protocol
	port     uint16
	affinity Affinity
	idle     time.Duration
	reset    bool
	healthy  []uint32
	pool     int
}

// ruleset writes the whole table as one nft transaction. The map of flows is
// left as it is: that is what keeps established flows where they are. chains
// are the rule chains that the new table has, stale those of the one before.
func ruleset(rules []rule, frontends []netip.Addr, marks []uint32, stale []string) (script string, chains []string) {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }

	say("add table %s", table)
	say("flush table %s", table)
	say("add map %s flows { type ipv4_addr . inet_service . ipv4_addr . inet_service : mark; flags dynamic,timeout; size %d; timeout %ds; }",
		table, flowLimit, seconds(DefaultIdle))
	say("add set %s marks { type mark; }", table)
	say("flush set %s marks", table)
	if len(marks) > 0 {
		say("add element %s marks { %s }", table, join(marks, func(m uint32) string { return fmt.Sprintf("%#08x", m) }))
	}
	say("add set %s frontends { type ipv4_addr; }", table)
	say("flush set %s frontends", table)
	if len(frontends) > 0 {
		say("add element %s frontends { %s }", table, join(frontends, netip.Addr.String))
	}
	say("add chain %s balance", table)
	say("add chain %s forwarded { type filter hook prerouting priority mangle; policy accept; }", table)
	say("add rule %s forwarded ip daddr @frontends goto balance", table)
	say("add chain %s quiet { type filter hook output priority filter; policy accept; }", table)
	for _, frontend := range frontends { // the packet that was not delivered begins 8 bytes into the message
		say("add rule %s quiet icmp type destination-unreachable icmp code != frag-needed @th,192,32 %#08x drop", table, word(frontend))
	}

	for i, r := range rules {
		chain := fmt.Sprintf("rule%d", i)
		chains = append(chains, chain)
		say("add chain %s %s", table, chain)
		if r.protocol == TCP {
			fresh := chain + "new"
			chains = append(chains, fresh)
			say("add chain %s %s", table, fresh)
			r.writeTCP(say, chain, fresh)
		} else {
			say("add rule %s %s %s", table, chain, r.choose())
		}
	}
	for i, r := range rules {
		say("add rule %s balance ip daddr %s %s dport %d goto rule%d", table, r.frontend, r.protocol, r.port, i)
	}
	say("add rule %s balance drop", table)

	current := map[string]bool{}
	for _, chain := range chains {
		current[chain] = true
	}
	for _, chain := range stale {
		if !current[chain] {
			say("delete chain %s %s", table, chain)
		}
	}
	return b.String(), chains
}

// relay writes the table of a zone's router. The region's router puts the index
// of the backend into the destination MAC, which is the one thing of a packet
// that is nobody else's; here it becomes the mark again.
func relay(uplink string, marks []uint32) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("add table %s", relayTable)
	say("delete table %s", relayTable)
	if len(marks) == 0 {
		return b.String()
	}
	say("add table %s", relayTable)
	say("add chain %s arrived { type filter hook ingress device %q priority 0; policy accept; }", relayTable, uplink)
	say("add rule %s arrived meta mark set ether daddr map { %s } meta pkttype set host", relayTable,
		join(marks, func(m uint32) string { return fmt.Sprintf("%s : %#08x", mac(int(m&maxIndex)), m) }))
	return b.String()
}

// mac is where the region's router sends what is for the backend with that index.
func mac(i int) net.HardwareAddr {
	return net.HardwareAddr{0x02, 'N', 'L', 'B', byte(i >> 8), byte(i)}
}

// writeTCP: a SYN is a new flow and is hashed over what is healthy now; every
// other packet follows its flow, whatever the probes say.
func (r rule) writeTCP(say func(string, ...any), chain, fresh string) {
	const flow = "ip saddr . tcp sport . ip daddr . tcp dport"
	remember := func(timeout time.Duration) string {
		return fmt.Sprintf("update @flows { %s timeout %ds : meta mark }", flow, seconds(timeout))
	}
	forget := fmt.Sprintf("delete @flows { %s : 0x0 }", flow)

	say("add rule %s %s %s", table, fresh, forget)
	if len(r.healthy) == 0 {
		say("add rule %s %s drop", table, fresh)
	} else {
		say("add rule %s %s %s", table, fresh, r.hash())
		say("add rule %s %s %s", table, fresh, remember(r.idle))
		say("add rule %s %s accept", table, fresh)
	}

	say("add rule %s %s tcp flags & (fin|syn|rst|ack) == syn goto %s", table, chain, fresh)
	if len(r.healthy) == 0 && r.pool < 2 {
		say("add rule %s %s drop", table, chain)
		return
	}
	say("add rule %s %s meta mark set %s map @flows", table, chain, flow)
	if r.reset {
		say("add rule %s %s meta mark 0 reject with tcp reset", table, chain)
	}
	ended := fmt.Sprintf("meta mark & %#x == %#x", closing, closing)
	say("add rule %s %s %s %s", table, chain, ended, remember(linger))
	say("add rule %s %s %s meta mark set meta mark & %#x meta mark @marks accept", table, chain, ended, ^uint32(closing))
	say("add rule %s %s meta mark != @marks drop", table, chain)
	say("add rule %s %s tcp flags & (fin|rst) == 0 %s accept", table, chain, remember(r.idle))
	say("add rule %s %s %s", table, chain, forget)
	say("add rule %s %s meta mark set meta mark | %#x %s", table, chain, closing, remember(linger))
	say("add rule %s %s meta mark set meta mark & %#x accept", table, chain, ^uint32(closing))
}

func (r rule) choose() string {
	if len(r.healthy) == 0 {
		return "drop"
	}
	return r.hash() + " accept"
}

func (r rule) hash() string {
	over := fmt.Sprintf("ip saddr . %s sport . ip daddr . %[1]s dport", r.protocol)
	seed := uint32(hashSeed)
	switch r.affinity {
	case SourceIP:
		over = "ip saddr . ip daddr"
	case SourceIPProtocol:
		over = "ip saddr . ip daddr"
		if r.protocol == UDP { // the protocol takes part as the seed
			seed++
		}
	}
	if len(r.healthy) == 1 {
		return fmt.Sprintf("meta mark set %#08x", r.healthy[0])
	}
	slots := make([]string, len(r.healthy))
	for i, mark := range r.healthy {
		slots[i] = fmt.Sprintf("%d : %#08x", i, mark)
	}
	return fmt.Sprintf("meta mark set jhash %s mod %d seed %#x map { %s }", over, len(r.healthy), seed, strings.Join(slots, ", "))
}

func word(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// seconds rounds up, because a timeout of zero means none to nft.
func seconds(d time.Duration) int64 {
	return int64((d + time.Second - 1) / time.Second)
}

func join[T any](items []T, text func(T) string) string {
	parts := make([]string, len(items))
	for i, item := range items {
		parts[i] = text(item)
	}
	return strings.Join(parts, ", ")
}
