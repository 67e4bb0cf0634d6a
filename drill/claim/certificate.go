package claim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nines-ha/nines/internal/wording"
	"github.com/nines-ha/nines/record"
)

// shown are the certificates of one proxy, as they were told.
type shown []*record.Event

// certificates puts those of each proxy together.
func (q *inquiry) certificates() {
	q.proven = map[string]shown{}
	for _, e := range q.events {
		if e.Kind == record.CertificateKind && e.Certificate != nil && (!q.injected || e.At < q.window.to) {
			q.proven[e.Name] = append(q.proven[e.Name], e)
		}
	}
}

// different counts certificates; one that is told again, with other roots, is one.
func (s shown) different() int {
	serials := map[string]bool{}
	for _, e := range s {
		serials[e.Certificate.Serial] = true
	}
	return len(serials)
}

// outOfDate is a stretch in which the certificate had expired and there was no
// other.
func (s shown) outOfDate(until time.Duration) (span, bool) {
	for i, e := range s {
		next := until
		if i+1 < len(s) {
			next = s[i+1].At
		}
		if end := e.At + e.Certificate.Left; end < next {
			return span{end, next}, true
		}
	}
	return span{}, false
}

// turned tells whether a certificate leads to another root in the end, the only one
// that the proxy accepts.
func (s shown) turned() bool {
	first, last := s[0].Certificate, s[len(s)-1].Certificate
	return last.Root != "" && last.Root != first.Root && slices.Equal(last.Trusts, []string{last.Root})
}

// rotated is about what proxies show to each other, whatever came of requests.
func (q *inquiry) rotated(least int, add adder) {
	want := fmt.Sprintf("≥ %d a proxy, new root", least)
	all := q.proven
	proxies := q.Header.Service.Replicas
	if q.Header.Gateway != nil {
		proxies += q.Header.Gateway.Replicas
	}
	if !q.injected || len(all) == 0 || len(all) < proxies {
		add("rotated", want, fmt.Sprintf("the certificates of %d of %s were seen", len(all), wording.Several(proxies, "proxy", "proxies")), false).Outcome = Inconclusive
		return
	}
	names := slices.Sorted(maps.Keys(all))
	fewest, most := all[names[0]].different(), 0
	var old, stuck, few []string
	for _, name := range names {
		s := all[name]
		n := s.different()
		fewest, most = min(fewest, n), max(most, n)
		if n < least {
			few = append(few, name)
		}
		if gap, ok := s.outOfDate(q.window.to); ok {
			old = append(old, fmt.Sprintf("%s from %s for %s", name, since(q, gap.from), lasting(gap.length())))
		}
		if !s.turned() {
			stuck = append(stuck, name)
		}
	}
	got := fmt.Sprintf("%d to %d of each", fewest, most)
	if fewest == most {
		got = fmt.Sprintf("%d of each", most)
	}
	switch {
	case len(old) > 0:
		got += "; expired: " + strings.Join(old, ", ")
	case len(stuck) > 0:
		got += "; no new root: " + strings.Join(stuck, ", ")
	case len(few) == 0:
		got += ", a new root for all"
	}
	add("rotated", want, got, len(old)+len(stuck)+len(few) == 0)
}

// hasExpired tells whether a proxy says that a certificate was too old. Who verifies
// has BoringSSL's words for it, and who is refused those of the alert.
func hasExpired(h *record.Hop) bool {
	said := strings.ToLower(h.Failure + " " + h.Details)
	return strings.Contains(said, "certificate has expired") || strings.Contains(said, "certificate_has_expired") || strings.Contains(said, "certificate_expired")
}

// outOfDate names whose certificate it was, where that is known.
func (q *inquiry) outOfDate(h *record.Hop, story string) blame {
	for _, pod := range []string{asked(h), h.Pod} {
		var last *record.Event
		for _, e := range q.proven[pod] {
			if e.At <= h.At {
				last = e
			}
		}
		if last == nil {
			continue
		}
		if end := last.At + last.Certificate.Left; end <= h.At+slack {
			return blame{CertificateExpired, pod, fmt.Sprintf("%s; the certificate of %s expired %s", story, pod, apart(end, h.At))}
		}
	}
	return blame{CertificateExpired, asked(h), story}
}
