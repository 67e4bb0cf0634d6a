// Package argo says what of the Argo project a ground runs: Argo CD, which Git then
// leads, and Argo Rollouts. It takes upstream's own manifests from the pinned
// modules and changes settings of theirs. Call Manifests for what has to be there
// before anything can come from Git, and Rollouts for what goes into the
// repository. It writes no Application and no AppProject: what is delivered, and
// what may be, is the repository's.
package argo

import (
	_ "embed"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/nines-ha/nines/ground/engine"
	"github.com/nines-ha/nines/internal/pki"
)

// Namespace is Argo CD's, and RolloutsNamespace that of Argo Rollouts. Upstream's
// manifests bind roles to accounts in namespaces of these names.
const (
	Namespace         = "argocd"
	RolloutsNamespace = "argo-rollouts"
)

// Labels of a cluster's Secret, for ApplicationSets to choose and order by.
const (
	RegionLabel = "nines.dev/region"
	OrderLabel  = "nines.dev/order" // "1" comes first
)

// Engines are what has to be compiled for it.
var Engines = []string{"argo-cd", "argo-rollouts", "prometheus"}

const (
	argoImage     = "quay.io/argoproj/argocd:v3.2.6"
	redisImage    = "public.ecr.aws/docker/library/redis:8.2.2-alpine"
	rolloutsImage = "quay.io/argoproj/argo-rollouts:v1.10.1"
	metricsImage  = "quay.io/prometheus/prometheus:v" + engine.PrometheusVersion
)

// Images are those that are run for delivery.
func Images() []string { return []string{argoImage, redisImage, rolloutsImage, metricsImage} }

// Config is what differs between grounds.
type Config struct {
	File       func(name string) (path string, err error) // of an engine, as engine.Builder.File
	Repository Repository
	Clusters   []Cluster // in the order in which they get a change; Argo CD runs in the first
}

// Repository is where Argo CD reads what is to be. It has to be allowed to read, and
// nothing else.
type Repository struct {
	URL                string // https
	Username, Password string
	CA                 []byte // PEM; who vouches for its certificate
}

// Cluster is one that Argo CD delivers to.
type Cluster struct {
	Region string
	// How the others than the first are reached. In the first it is the account of
	// Argo CD's controller.
	Server string // URL
	CA     []byte // PEM
	Client pki.Pair
}

//go:embed argo-cd.patch.yaml
var settings []byte

// leftOut are prefixes of names. Nobody needs Dex here, which signs people in with
// accounts that they have elsewhere, nor notifications, which would go out to them.
// The rest is what secrets writes.
var leftOut = []string{"argocd-dex-", "argocd-notifications-", "argocd-tls-certs-cm", "argocd-secret"}

// Manifests are Argo CD's objects as YAML, its namespace among them. They hold
// secrets: they go to the API server, and nowhere else.
func Manifests(c Config) ([]byte, error) {
	body, err := upstream(c.File, "argo-cd.yaml")
	if err != nil {
		return nil, err
	}
	objects, err := overlay(body, settings, Namespace, leftOut)
	if err != nil {
		return nil, fmt.Errorf("settings of Argo CD: %w", err)
	}
	secrets, err := c.secrets()
	if err != nil {
		return nil, err
	}
	return append(objects, secrets...), nil
}

//go:embed argo-rollouts.patch.yaml
var rolloutsSettings []byte

// Rollouts are the objects of Argo Rollouts as YAML, its namespace among them. They
// hold no secret.
func Rollouts(file func(name string) (path string, err error)) ([]byte, error) {
	body, err := upstream(file, "argo-rollouts.yaml")
	if err != nil {
		return nil, err
	}
	objects, err := overlay(body, rolloutsSettings, RolloutsNamespace, []string{"argo-rollouts-notification-"})
	if err != nil {
		return nil, fmt.Errorf("settings of Argo Rollouts: %w", err)
	}
	return append(objects, disruption...), nil
}

// Definitions are the kinds of Argo Rollouts, which Rollouts has too. They are large:
// a busy API server takes longer to serve them than the three seconds that Argo CD
// waits for it, and then the first sync fails. It finds them there if they are
// applied early.
func Definitions(file func(name string) (path string, err error)) ([]byte, error) {
	body, err := upstream(file, "argo-rollouts.yaml")
	if err != nil {
		return nil, err
	}
	documents := slices.DeleteFunc(strings.Split(string(body), separator), func(text string) bool { return !defines(text) })
	return []byte(strings.Join(documents, separator)), nil
}

// disruption keeps one of the two while nodes are drained.
const disruption = `apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: argo-rollouts, namespace: ` + RolloutsNamespace + `}
spec:
  maxUnavailable: 1
  selector: {matchLabels: {app.kubernetes.io/name: argo-rollouts}}
`

func upstream(file func(string) (string, error), name string) ([]byte, error) {
	path, err := file(name)
	if err != nil {
		return nil, err
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read upstream's manifests: %w", err)
	}
	return body, nil
}
