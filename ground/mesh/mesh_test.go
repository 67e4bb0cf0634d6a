package mesh

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/nines-ha/nines/internal/pki"
)

// istiod refuses what does not fit together, and then issues nothing.
func TestAuthority(t *testing.T) {
	files, err := NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(files["ca-cert.pem"], files["ca-key.pem"])
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots, chain := x509.NewCertPool(), x509.NewCertPool()
	if !roots.AppendCertsFromPEM(files[Roots]) || !chain.AppendCertsFromPEM(files["cert-chain.pem"]) || !ca.IsCA {
		t.Errorf("files %q are not what istiod wants", files)
	}
	if _, err := ca.Verify(x509.VerifyOptions{Roots: roots, Intermediates: chain}); err != nil {
		t.Error(err)
	}
	other, err := NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	if slices.Equal(Fingerprints(files[Roots]), Fingerprints(other[Roots])) {
		t.Error("two authorities have one root")
	}
	body, err := authority(files)
	if err != nil {
		t.Fatal(err)
	}
	var secret corev1.Secret
	if err := yaml.UnmarshalStrict([]byte(strings.TrimSuffix(string(body), "---\n")), &secret); err != nil {
		t.Fatal(err)
	}
	if secret.Namespace != "aks-istio-system" || secret.Name != "cacerts" || string(secret.Data["ca-key.pem"]) != string(files["ca-key.pem"]) {
		t.Errorf("Secret %s/%s with %d files", secret.Namespace, secret.Name, len(secret.Data))
	}
}

// dump is what Envoy tells, with a certificate below one root and a list of those
// that are accepted.
func dump(chain, roots []byte) string {
	text, _ := json.Marshal(map[string]any{"configs": []any{
		map[string]any{"name": "default", "version_info": "1", "last_updated": "2026-11-26T18:00:00.000Z", "secret": map[string]any{
			"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", "name": "default",
			"tls_certificate": map[string]any{"certificate_chain": map[string]any{"inline_bytes": chain}, "private_key": map[string]any{"inline_bytes": []byte("[redacted]")}},
		}},
		map[string]any{"name": "ROOTCA", "secret": map[string]any{
			"name": "ROOTCA", "validation_context": map[string]any{"trusted_ca": map[string]any{"inline_bytes": roots}},
		}},
	}})
	return string(text)
}

func TestCertificate(t *testing.T) {
	root, err := pki.New("old")
	if err != nil {
		t.Fatal(err)
	}
	below, err := root.Under("authority")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := below.Issue(pki.Subject{Name: "vehicle"})
	if err != nil {
		t.Fatal(err)
	}
	other, err := pki.New("new")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(pair.Cert)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	own, strange := Fingerprints(root.PEM)[0], Fingerprints(other.PEM)[0]
	chain := slices.Concat(pair.Cert, below.PEM)
	for name, c := range map[string]struct {
		dump string
		root string
		want []string
		err  string
	}{
		"one root":            {dump(chain, root.PEM), own, []string{own}, ""},
		"both roots":          {dump(chain, slices.Concat(other.PEM, root.PEM)), own, []string{strange, own}, ""},
		"another root":        {dump(chain, other.PEM), "", []string{strange}, ""},
		"no link to the root": {dump(pair.Cert, root.PEM), "", []string{own}, ""},
		"nothing yet":         {`{"configs":[]}`, "", nil, "yet"},
		"no certificate":      {dump([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), root.PEM), "", nil, "default"},
		"not JSON":            {"503", "", nil, "read the proxy's certificate"},
	} {
		got, err := readCertificate(strings.NewReader(c.dump))
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %q", name, err, c.err)
			}
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case got.Root != c.root || !slices.Equal(got.Trusts, c.want):
			t.Errorf("%s: leads to %q, trusts %q, want %q, %q", name, got.Root, got.Trusts, c.root, c.want)
		case !got.Expires.Equal(leaf.NotAfter) || got.Serial == "" || got.Since.Format(time.RFC3339) != "2026-11-26T18:00:00Z":
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// The question goes to Envoy's own port, wherever the dialer leads.
func TestAskCertificate(t *testing.T) {
	files, err := NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	answer := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RequestURI() != "/config_dump?resource=dynamic_active_secrets" {
			t.Errorf("asked %s", r.URL)
		}
		w.WriteHeader(answer)
		_, _ = w.Write([]byte(dump(files["cert-chain.pem"], files[Roots])))
	}))
	defer server.Close()
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != "127.0.0.1:15000" {
			t.Errorf("dialled %s", address)
		}
		return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
	}
	c, err := AskCertificate(t.Context(), dial)
	if err != nil || c.Root != Fingerprints(files[Roots])[0] {
		t.Errorf("%+v, %v", c, err)
	}
	answer = http.StatusNotFound
	if _, err := AskCertificate(t.Context(), dial); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("error = %v", err)
	}
}
