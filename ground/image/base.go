package image

import (
	"bytes"
	"encoding/pem"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

const (
	path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// nonroot is the user of our images: a number, so that runAsNonRoot can be
	// checked.
	nonroot   = 65532
	certsFile = "etc/ssl/certs/ca-certificates.crt"
)

// baseLayer holds what a static program may look for: users, certificate
// authorities, a place for temporary files. No shell, no libc, no zone files.
func (s *Store) baseLayer() (layer, error) {
	certs, err := authorities()
	if err != nil {
		return layer{}, err
	}
	return s.layerOf(
		file{Path: "etc", Mode: 0o755, Dir: true},
		file{Path: "etc/group", Mode: 0o644, Text: fmt.Appendf(nil, "root:x:0:\nnobody:x:65534:\nnonroot:x:%d:\n", nonroot)},
		file{Path: "etc/nsswitch.conf", Mode: 0o644, Text: []byte("hosts: files dns\n")},
		file{Path: "etc/passwd", Mode: 0o644, Text: fmt.Appendf(nil,
			"root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n"+
				"nonroot:x:%d:%d:nonroot:/home/nonroot:/sbin/nologin\n", nonroot, nonroot)},
		file{Path: "etc/ssl", Mode: 0o755, Dir: true},
		file{Path: "etc/ssl/certs", Mode: 0o755, Dir: true},
		file{Path: certsFile, Mode: 0o644, Text: certs},
		file{Path: "home", Mode: 0o755, Dir: true},
		file{Path: "home/nonroot", Mode: 0o700, UID: nonroot, GID: nonroot, Dir: true},
		file{Path: "tmp", Mode: 0o1777, Dir: true},
	)
}

// authorities are Mozilla's roots, from a pinned module and not from this
// machine. A root that Mozilla trusts only in part cannot be written as a
// plain certificate and is left out.
func authorities() ([]byte, error) {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, fmt.Errorf("write the certificate authorities: %w", err)
		}
	}
	return out.Bytes(), nil
}

// compose makes an image of layers.
func compose(arch string, config v1.Config, layers ...layer) (v1.Image, error) {
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	for _, l := range layers {
		next, err := mutate.Append(img, mutate.Addendum{
			Layer: l, MediaType: types.OCIUncompressedLayer,
			History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "nines"},
		})
		if err != nil {
			return nil, fmt.Errorf("compose an image: %w", err)
		}
		img = next
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("compose an image: %w", err)
	}
	cf = cf.DeepCopy()
	cf.Architecture, cf.OS, cf.Created, cf.Config = arch, "linux", v1.Time{Time: epoch}, config
	img, err = mutate.ConfigFile(img, cf)
	if err != nil {
		return nil, fmt.Errorf("compose an image: %w", err)
	}
	return img, nil
}
