package mesh

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// A Certificate is what a proxy shows to others, and which roots it accepts.
type Certificate struct {
	Serial  string    `json:"serial"`
	Since   time.Time `json:"since"` // when the proxy got it
	Expires time.Time `json:"expires"`
	Root    string    `json:"root"`   // fingerprint of the root that it leads to; "": none of Trusts
	Trusts  []string  `json:"trusts"` // fingerprints
}

const (
	admin      = "http://127.0.0.1:15000" // of Envoy, in the network of its pod
	secrets    = admin + "/config_dump?resource=dynamic_active_secrets"
	mostAnswer = 4 << 20
)

// AskCertificate asks the proxy of a pod, by connections from inside the pod. Keys
// are not in its answer: Envoy leaves them out.
func AskCertificate(ctx context.Context, dial func(ctx context.Context, network, address string) (net.Conn, error)) (Certificate, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, secrets, nil)
	if err != nil {
		return Certificate{}, err
	}
	resp, err := (&http.Transport{DisableKeepAlives: true, DialContext: dial}).RoundTrip(req)
	if err != nil {
		return Certificate{}, fmt.Errorf("ask the proxy: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Certificate{}, fmt.Errorf("ask the proxy: it answers %s", resp.Status)
	}
	return readCertificate(io.LimitReader(resp.Body, mostAnswer))
}

// readCertificate reads Envoy's dump. Istio calls the certificate "default" and the
// roots "ROOTCA".
func readCertificate(dump io.Reader) (Certificate, error) {
	type source struct {
		Inline []byte `json:"inline_bytes"`
	}
	var d struct {
		Configs []struct {
			Name   string    `json:"name"`
			Since  time.Time `json:"last_updated"`
			Secret struct {
				Certificate struct {
					Chain source `json:"certificate_chain"`
				} `json:"tls_certificate"`
				Validation struct {
					Roots source `json:"trusted_ca"`
				} `json:"validation_context"`
			} `json:"secret"`
		} `json:"configs"`
	}
	if err := json.NewDecoder(dump).Decode(&d); err != nil {
		return Certificate{}, fmt.Errorf("read the proxy's certificate: %w", err)
	}
	var c Certificate
	var chain, roots []*x509.Certificate
	var err error
	for _, one := range d.Configs {
		switch one.Name {
		case "default":
			c.Since = one.Since
			chain, err = parse(one.Secret.Certificate.Chain.Inline)
		case "ROOTCA":
			roots, err = parse(one.Secret.Validation.Roots.Inline)
		}
		if err != nil {
			return Certificate{}, fmt.Errorf("read %s of the proxy: %w", one.Name, err)
		}
	}
	if len(chain) == 0 || len(roots) == 0 {
		return Certificate{}, errors.New("the proxy has no certificate, or no roots, yet")
	}
	c.Serial, c.Expires = fmt.Sprintf("%x", chain[0].SerialNumber), chain[0].NotAfter
	for _, root := range roots {
		name := fingerprint(root.Raw)
		c.Trusts = append(c.Trusts, name)
		if c.Root == "" && leads(chain, root) {
			c.Root = name
		}
	}
	return c, nil
}

// leads tells whether a chain ends at a root. Whether it has expired is another
// question: what is asked about is the middle of its life, since istiod dates a
// certificate back, to before it had its own.
func leads(chain []*x509.Certificate, root *x509.Certificate) bool {
	o := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: chain[0].NotBefore.Add(chain[0].NotAfter.Sub(chain[0].NotBefore) / 2),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	o.Roots.AddCert(root)
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(o)
	return err == nil
}

func parse(text []byte) (list []*x509.Certificate, err error) {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return list, nil
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		list, text = append(list, c), rest
	}
}
