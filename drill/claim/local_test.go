package claim

import (
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/nines-ha/nines/record"
)

// zoned is a record of a mesh that keeps calls in their zone: connections end at
// the gateway in the zone of the replica that answers. Zone eu-1 has no replica from
// 6 to 10 s, and eu-2 answers its calls.
func zoned(t *testing.T) *script {
	b := newScript(t)
	b.gate()
	b.Header.Promise = record.Promise{Local: 0.95}
	b.on(6*s, record.Endpoint, "p1", "terminating", "n1")
	b.on(10*s, record.Endpoint, "p4", "ready", "n1")
	for i := range b.Requests {
		r := &b.Requests[i]
		r.Conn = "c" + r.Node
		switch {
		case r.Node != "n1" || r.Scheduled < 6*s:
		case r.Scheduled < 10*s:
			r.Pod, r.Node, r.Zone = "p2", "n2", "eu-2"
		default:
			r.Pod = "p4"
		}
	}
	b.Flows = nil
	for _, n := range []string{"n1", "n2", "n3"} {
		b.Flows = append(b.Flows, record.Flow{Conn: "c" + n, Node: n})
	}
	return b
}

// elsewhere makes what was due in a span and came by a node's gateway be answered
// in a zone that it does not come from.
func (b *script) elsewhere(during span, node string) {
	for i := range b.Requests {
		if r := &b.Requests[i]; during.has(r.Scheduled) && r.Conn == "c"+node {
			r.Pod, r.Node, r.Zone = "p3", "n3", "eu-3"
		}
	}
}

func TestLocal(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*script)
		want   Outcome
		got    string
	}{
		"all stay":                               {func(*script) {}, Held, "100 % of 2,500, home again 100 % of 500: eu-1 had no replica for 4 s, and counts from 5 s after"},
		"a retry of the gateway's own leaves it": {func(b *script) { b.elsewhere(span{20 * s, 20*s + 700*ms}, "n1") }, Held, "99.08 % of 2,500, home again 95."},
		"zones are nobody's matter": {func(b *script) {
			for i := range b.Requests {
				r := &b.Requests[i]
				r.Conn = []string{"cn1", "cn2", "cn3"}[i/3%3]
			}
		}, Refuted, "35."},
		"the zone does not come back": {func(b *script) { b.elsewhere(span{10 * s, 18 * s}, "n1") }, Refuted, "home again 80 %"},
		"soon after it is no matter":  {func(b *script) { b.elsewhere(span{10 * s, 15 * s}, "n1") }, Held, "100 %"},
		"no zone was empty": {func(b *script) {
			b.on(0, record.Endpoint, "p5", "ready", "n1")
		}, Inconclusive, "no zone was without a replica"},
		"the zone stays empty": {func(b *script) {
			b.on(11*s, record.Endpoint, "p4", "gone", "n1")
		}, Inconclusive, "no zone was without a replica and had one again"},
		"nobody knows where they began": {func(b *script) { b.Flows = nil }, Inconclusive, "of 0 calls"},
		"one gateway is not known":      {func(b *script) { b.Flows = b.Flows[:2] }, Inconclusive, "the zones of 934 are not known"},
		"no gateway":                    {func(b *script) { b.Header.Gateway, b.Header.Mesh = nil, false }, Inconclusive, "not known in which zone"},
		"failures are for other claims": {func(b *script) {
			b.event(6*s, record.Machine, "n1", "frozen")
			for at := 16 * s; at < 16*s+300*ms; at += 10 * ms {
				b.fail(at, record.Timeout, s)
			}
		}, Held, "100 % of 2,470"},
		"a logged gateway is known without the load balancer": {func(b *script) {
			b.Flows = nil
			for i := range 3 {
				r := &b.Requests[300+i]
				b.Hops = append(b.Hops, record.Hop{ID: r.ID, At: r.Sent, Length: ms, Proxy: record.AtGateway, Pod: "g" + r.Conn[2:], Status: 200})
			}
		}, Held, "100 % of 2,500, home"},
	} {
		t.Run(name, func(t *testing.T) {
			b := zoned(t)
			c.change(b)
			v := b.judge()
			claim := claimNamed(t, v, "local")
			if claim.Outcome != c.want || v.Verdict != c.want || !strings.Contains(claim.Got, c.got) {
				t.Errorf("%s, verdict %s (%s): %s; want %s: %s", claim.Outcome, v.Verdict, v.Because, claim.Got, c.want, c.got)
			}
			if claim.Outcome == Refuted && (len(v.Fixes) != 1 || !strings.Contains(v.Fixes[0].Change, "localityLbSetting")) {
				t.Errorf("fixes %+v", v.Fixes)
			}
		})
	}
}

// A generator that is late sends calls nowhere else; a machine that is too busy may.
func TestLocalStands(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*script)
		want   Outcome
	}{
		"a late generator": {func(b *script) { b.late(60, 120*ms) }, Refuted},
		"a busy machine": {func(b *script) {
			for i := range b.Seconds {
				b.Seconds[i].CPU = 1
			}
		}, Inconclusive},
	} {
		b := zoned(t)
		b.elsewhere(span{0, 30 * s}, "n2")
		c.change(b)
		if v := b.judge(); v.Verdict != c.want || claimNamed(t, v, "local").Outcome != Refuted {
			t.Errorf("%s: %s, %s", name, v.Verdict, v.Because)
		}
	}
}

// With fewer replicas than zones the mesh cannot do it.
func TestLocalWantsAReplicaInEachZone(t *testing.T) {
	b := zoned(t)
	b.Header.Service.Replicas = 2
	b.elsewhere(span{0, 30 * s}, "n2")
	v := b.judge()
	if len(v.Fixes) != 1 || v.Fixes[0].Field != "services.vehicle.scale.replicas" || !strings.HasPrefix(v.Fixes[0].Change, "3,") {
		t.Errorf("fixes %+v", v.Fixes)
	}
}

// Whichever calls leave their zone, what is judged is their share; what is not known
// can leave a claim open, and never turns it round.
func TestLocalIsAShare(t *testing.T) {
	whole := zoned(t)
	rapid.Check(t, func(t *rapid.T) {
		b := *whole
		record := *whole.Record
		b.Record = &record
		b.Requests = nil
		oneIn := rapid.IntRange(2, 60).Draw(t, "one in so many leaves")
		hidden := rapid.SampledFrom([]int{0, 0, 3, 20, 50}).Draw(t, "one in so many is not known")
		dice := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		var want calls
		for i := 0; i < len(whole.Requests); i += 5 {
			r := whole.Requests[i]
			lone := r.Conn == "cn1" && r.Scheduled >= 6*s-5*ms && r.Scheduled < 15*s
			leaves, hide := dice.IntN(oneIn) == 0, hidden > 0 && dice.IntN(hidden) == 0
			if leaves {
				other := map[string]string{"cn1": "2", "cn2": "3", "cn3": "2"}[r.Conn]
				r.Pod, r.Node, r.Zone = "p"+other, "n"+other, "eu-"+other
			}
			if hide {
				r.Conn = "another"
			}
			switch {
			case r.Scheduled < 2*s:
			case hide:
				want.unknown++
			case lone:
			case leaves:
				want.left++
			default:
				want.stayed++
			}
			b.Requests = append(b.Requests, r)
		}
		q := newInquiry(b.Record)
		ready := q.readyByZone()
		all, back := q.countLocal(ready, q.gaps(ready))
		if all != want {
			t.Fatalf("%+v, want %+v", all, want)
		}
		var c Claim
		q.local(0.95, func(name, want, got string, held bool) *Claim {
			c = Claim{Name: name, Want: want, Got: got, Outcome: map[bool]Outcome{true: Held, false: Refuted}[held]}
			return &c
		})
		if fits := all.share() >= 0.95 && back.share() >= 0.95; c.Outcome == Held && !fits || c.Outcome == Refuted && fits {
			t.Errorf("%s with %+v and %+v", c.Outcome, all, back)
		}
		if want.unknown == 0 && c.Outcome == Inconclusive {
			t.Errorf("open though all is known: %s", c.Got)
		}
	})
}

// Nothing that a record may tell makes it stumble.
func TestLocalOfAnything(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		rec := anyRecord(r)
		rec.Header.Promise.Local = rapid.Float64Range(0.01, 1).Draw(r, "share")
		v, err := Judge(rec)
		if err != nil {
			t.Fatal(err)
		}
		if c := claimNamed(t, v, "local"); c.Outcome == Held && !rec.Header.Mesh {
			t.Errorf("held without a mesh: %+v", c)
		}
	})
}
