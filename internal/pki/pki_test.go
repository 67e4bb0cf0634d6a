package pki

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/url"
	"slices"
	"testing"
)

func authority(t *testing.T, name string) *Authority {
	t.Helper()
	a, err := New(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, a *Authority, s Subject) (Pair, *x509.Certificate) {
	t.Helper()
	pair, err := a.Issue(s)
	if err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(pair.Cert)
	if block == nil || block.Type != "CERTIFICATE" || len(rest) > 0 {
		t.Fatalf("certificate is no PEM block alone: %q", pair.Cert)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return pair, cert
}

func pool(a *Authority) *x509.CertPool {
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(a.PEM)
	return p
}

func TestIssue(t *testing.T) {
	a := authority(t, "ca")
	_, cert := issue(t, a, Subject{Name: "who", Groups: []string{"g1", "g2"}, Hosts: []string{"a.example", "10.0.0.1", "fd00::1"}})
	if cert.Subject.CommonName != "who" || !slices.Equal(cert.Subject.Organization, []string{"g1", "g2"}) {
		t.Errorf("subject = %s", cert.Subject)
	}
	if !slices.Equal(cert.DNSNames, []string{"a.example"}) || len(cert.IPAddresses) != 2 || !cert.IPAddresses[0].Equal(net.IPv4(10, 0, 0, 1)) {
		t.Errorf("hosts = %v %v", cert.DNSNames, cert.IPAddresses)
	}
	identity := &url.URL{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/fleet/sa/web"}
	if _, named := issue(t, a, Subject{Name: "who", URIs: []*url.URL{identity}}); len(named.URIs) != 1 || named.URIs[0].String() != identity.String() || len(cert.URIs) != 0 {
		t.Errorf("identities = %v, and %v of whom none was given", named.URIs, cert.URIs)
	}
	if cert.IsCA {
		t.Error("it could sign others")
	}
	for _, host := range []string{"a.example", "10.0.0.1", "fd00::1"} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: pool(a), DNSName: host}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: pool(a), DNSName: "b.example"}); err == nil {
		t.Error("it stands for a host that nobody named")
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: pool(authority(t, "ca")), DNSName: "a.example"}); err == nil {
		t.Error("another authority of the same name vouches for it")
	}
}

func TestClientCertificateIsNoServer(t *testing.T) {
	a := authority(t, "ca")
	_, cert := issue(t, a, Subject{Name: "client"})
	for usage, ok := range map[x509.ExtKeyUsage]bool{x509.ExtKeyUsageClientAuth: true, x509.ExtKeyUsageServerAuth: false} {
		_, err := cert.Verify(x509.VerifyOptions{Roots: pool(a), KeyUsages: []x509.ExtKeyUsage{usage}})
		if (err == nil) != ok {
			t.Errorf("usage %v: %v", usage, err)
		}
	}
}

func TestSerialsDiffer(t *testing.T) {
	a := authority(t, "ca")
	_, one := issue(t, a, Subject{Name: "x"})
	_, two := issue(t, a, Subject{Name: "x"})
	if one.SerialNumber.Cmp(two.SerialNumber) == 0 {
		t.Error("two certificates have one serial number")
	}
}

// A server and a client that know one authority shake hands, and no others.
func TestHandshake(t *testing.T) {
	a, stranger := authority(t, "ca"), authority(t, "ca")
	server, _ := issue(t, a, Subject{Name: "server", Hosts: []string{"server.example"}})
	serving, err := server.TLS()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		signer *Authority
		ok     bool
	}{"of the authority": {a, true}, "of a stranger": {stranger, false}} {
		pair, _ := issue(t, test.signer, Subject{Name: "client"})
		client, err := pair.TLS()
		if err != nil {
			t.Fatal(err)
		}
		near, far := net.Pipe()
		shaken := make(chan error, 1)
		go func() {
			s := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{serving}, ClientCAs: pool(a), ClientAuth: tls.RequireAndVerifyClientCert})
			shaken <- s.Handshake()
			far.Close()
		}()
		c := tls.Client(near, &tls.Config{RootCAs: pool(a), ServerName: "server.example", GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &client, nil }})
		_ = c.Handshake()
		go func() { _, _ = c.Read(make([]byte, 1)) }() // takes the server's answer
		if err := <-shaken; (err == nil) != test.ok {
			t.Errorf("a client %s: %v", name, err)
		}
		near.Close()
	}
}

func TestSigningKey(t *testing.T) {
	private, public, err := SigningKey()
	if err != nil {
		t.Fatal(err)
	}
	p, _ := pem.Decode(private)
	q, _ := pem.Decode(public)
	if p == nil || q == nil || p.Type != "PRIVATE KEY" || q.Type != "PUBLIC KEY" {
		t.Fatalf("%q %q", private, public)
	}
	key, err := x509.ParsePKCS8PrivateKey(p.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	open, err := x509.ParsePKIXPublicKey(q.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !key.(*ecdsa.PrivateKey).PublicKey.Equal(open) {
		t.Error("the halves do not belong together")
	}
}
