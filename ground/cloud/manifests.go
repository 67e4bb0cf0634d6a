package cloud

import (
	_ "embed"
	"slices"
)

//go:embed manifests.yaml
var manifests []byte

// User is who the controllers are to the API server: the common name of their
// client certificate.
const User = "system:cloud-controller-manager"

// Manifests are the rights of User, no more than the controllers use, and the
// storage classes. Apply them before Run.
func Manifests() []byte { return slices.Clone(manifests) }
