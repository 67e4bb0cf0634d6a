package mesh

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/nines-ha/nines/internal/pki"
)

// What istiod issues certificates with is plugged in, as AKS's add-on takes it from
// a key vault: https://learn.microsoft.com/azure/aks/istio-plugin-ca.
const (
	AuthoritySecret = "cacerts"       // in System
	Roots           = "root-cert.pem" // its file with the roots that proxies trust
	// TrustConfig is the ConfigMap in each namespace by which proxies know istiod; its
	// file RootsTold has the same roots.
	TrustConfig = "istio-ca-root-cert"
	RootsTold   = "root-cert.pem"
)

// NewAuthority makes a root and an authority below it, as the files of
// AuthoritySecret. The key of the root is not among them, and is kept nowhere.
func NewAuthority() (map[string][]byte, error) {
	name := rand.Text()[:8] // roots of one name would be hard to tell apart
	root, err := pki.New("root of the mesh " + name)
	if err != nil {
		return nil, err
	}
	authority, err := root.Under("authority of the mesh " + name)
	if err != nil {
		return nil, err
	}
	pair, err := authority.Pair()
	if err != nil {
		return nil, err
	}
	return map[string][]byte{"ca-cert.pem": pair.Cert, "ca-key.pem": pair.Key, "cert-chain.pem": pair.Cert, Roots: root.PEM}, nil
}

// authority is the Secret as YAML.
func authority(files map[string][]byte) ([]byte, error) {
	body, err := yaml.Marshal(&corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: System, Name: AuthoritySecret},
		Data:       files,
	})
	if err != nil {
		return nil, fmt.Errorf("write Secret %s: %w", AuthoritySecret, err)
	}
	return append(body, "---\n"...), nil
}

// Fingerprints are those of certificates in PEM, in their order.
func Fingerprints(text []byte) (list []string) {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return list
		}
		list, text = append(list, fingerprint(block.Bytes)), rest
	}
}

// fingerprint is the beginning of the SHA-256 of a certificate: enough to tell
// roots apart.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:8])
}
