package claim

import (
	"strings"
	"testing"
	"time"

	"github.com/nines-ha/nines/record"
)

// certificate is what a proxy shows from an instant on.
func (b *script) certificate(at time.Duration, pod, serial string, left time.Duration, root string, trusts ...string) {
	b.event(at, record.CertificateKind, pod, record.Rotated).Certificate = &record.Certificate{Serial: serial, Left: left, Root: root, Trusts: trusts}
}

// rotating is a script in which three replicas go from one root to another, with
// three certificates each.
func rotating(t *testing.T, without ...string) *script {
	b := newScript(t)
	b.Header.Promise.Rotated = 3
	for _, pod := range []string{"p1", "p2", "p3"} {
		if len(without) > 0 && pod == without[0] {
			continue
		}
		b.certificate(5*s, pod, "1", 20*s, "old", "old", "new")
		b.certificate(10*s, pod, "2", 20*s, "new", "old", "new")
		b.certificate(20*s, pod, "3", 20*s, "new", "new")
	}
	return b
}

func TestRotated(t *testing.T) {
	for name, c := range map[string]struct {
		make func(*testing.T) *script
		want Outcome
		got  string
	}{
		"all of them": {func(t *testing.T) *script { return rotating(t) }, Held, "3 of each, a new root for all"},
		"told again with other roots": {func(t *testing.T) *script {
			b := rotating(t)
			b.certificate(22*s, "p1", "3", 18*s, "new", "new")
			return b
		}, Held, "3 of each"},
		"more of one": {func(t *testing.T) *script {
			b := rotating(t)
			b.certificate(22*s, "p1", "4", 18*s, "new", "new")
			return b
		}, Held, "3 to 4 of each"},
		"nothing seen": {func(t *testing.T) *script { b := newScript(t); b.Header.Promise.Rotated = 3; return b }, Inconclusive, "the certificates of 0 of 3 proxies were seen"},
		"one not seen": {func(t *testing.T) *script { return rotating(t, "p2") }, Inconclusive, "the certificates of 2 of 3 proxies were seen"},
		"a gateway, too": {func(t *testing.T) *script {
			b := rotating(t)
			b.Header.Gateway = &record.Gateway{Replicas: 1}
			return b
		}, Inconclusive, "of 3 of 4 proxies"},
		"one has too few": {func(t *testing.T) *script {
			b := rotating(t, "p2")
			b.certificate(5*s, "p2", "1", 30*s, "old", "old", "new")
			b.certificate(20*s, "p2", "2", 30*s, "new", "new")
			return b
		}, Refuted, "2 to 3 of each"},
		"what comes after the window": {func(t *testing.T) *script {
			b := rotating(t, "p2")
			b.certificate(5*s, "p2", "1", 30*s, "old", "old", "new")
			b.certificate(20*s, "p2", "2", 30*s, "new", "new")
			b.certificate(26*s, "p2", "3", 30*s, "new", "new")
			return b
		}, Refuted, "2 to 3 of each"},
		"one keeps its root": {func(t *testing.T) *script {
			b := rotating(t, "p2")
			for i, serial := range []string{"1", "2", "3"} {
				b.certificate(time.Duration(5+5*i)*s, "p2", serial, 30*s, "old", "old", "new")
			}
			return b
		}, Refuted, "3 of each; no new root: p2"},
		"one still accepts the old root": {func(t *testing.T) *script {
			b := rotating(t)
			b.certificate(22*s, "p3", "4", 18*s, "new", "old", "new")
			return b
		}, Refuted, "no new root: p3"},
		"expired for a while": {func(t *testing.T) *script {
			b := rotating(t, "p2")
			b.certificate(5*s, "p2", "1", 20*s, "old", "old", "new")
			b.certificate(10*s, "p2", "2", 4*s, "new", "old", "new")
			b.certificate(20*s, "p2", "3", 20*s, "new", "new")
			return b
		}, Refuted, "expired: p2 from 9 s after the fault for 6 s"},
		"expired at the end": {func(t *testing.T) *script {
			b := rotating(t)
			b.certificate(22*s, "p1", "4", 1*s, "new", "new")
			return b
		}, Refuted, "expired: p1"},
	} {
		got := claimNamed(t, c.make(t).judge(), "rotated")
		if got.Outcome != c.want || !strings.Contains(got.Got, c.got) {
			t.Errorf("%s: %s, %q; want %s, %q", name, got.Outcome, got.Got, c.want, c.got)
		}
	}
	b := rotating(t)
	b.Header.Promise.Rotated = 0
	for _, c := range b.judge().Claims {
		if c.Name == "rotated" {
			t.Error("it is claimed although nobody promised it")
		}
	}
}

func TestCertificateExpired(t *testing.T) {
	const at = 6*s + 300*ms
	failure := func(text string) func(*record.Hop) { return func(h *record.Hop) { h.Failure = text } }
	for name, c := range map[string]struct {
		make  func(*script) *record.Request
		cause string
		story string
	}{
		"who asked sees it": {func(b *script) *record.Request {
			return b.refuse(at, 503, "UF,URX", failure("TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_X509_verify_cert:_certificate_verification_error_at_depth_0:_certificate_has_expired:TLS_error_end"))
		}, CertificateExpired, "upstream connection failure (UF)"},
		"who was asked says so": {func(b *script) *record.Request {
			return b.refuse(at, 503, "UF", failure("TLS_error:|268436501:SSL_routines:OPENSSL_internal:SSLV3_ALERT_CERTIFICATE_EXPIRED:TLS_error_end"))
		}, CertificateExpired, "gateway g2 on n2"},
		"whose it is": {func(b *script) *record.Request {
			b.certificate(0, "p1", "1", 5*s, "old", "old")
			return b.refuse(at, 503, "UF", failure("certificate has expired"))
		}, CertificateExpired, "the certificate of p1 expired 1.301 s before"},
		"another's than that of who was asked": {func(b *script) *record.Request {
			b.certificate(0, "p1", "1", 5*s, "old", "old")
			b.certificate(3*s, "p1", "2", 30*s, "old", "old")
			b.certificate(0, "g2", "1", 5*s, "old", "old")
			return b.refuse(at, 503, "UF", failure("certificate has expired"))
		}, CertificateExpired, "the certificate of g2 expired"},
		"a stranger": {func(b *script) *record.Request {
			b.certificate(0, "p1", "1", 5*s, "old", "old")
			return b.refuse(at, 503, "UF", failure("TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:unable to get local issuer certificate"))
		}, PolicyDenied, ""},
	} {
		b := newScript(t)
		b.Header.Mesh, b.Header.Gateway = true, &record.Gateway{Replicas: 3}
		r := c.make(b)
		v := b.judge()
		if len(v.Attribution) != 1 || v.Attribution[0].Cause != c.cause {
			t.Errorf("%s: %+v", name, v.Attribution)
			continue
		}
		if i := len(v.Worst); i == 0 || v.Worst[0].ID != r.ID || !strings.Contains(v.Worst[0].Story, c.story) {
			t.Errorf("%s: %+v does not say %q", name, v.Worst[0], c.story)
		}
	}
}
