// Package kube is a Kubernetes control plane as parts: etcd, kube-apiserver,
// kube-controller-manager and kube-scheduler, all stock, and what a cluster
// brings with it (DNS, metrics, access rules). Call New, add Parts to a plan, and
// apply Access when the API server answers and Addons when nodes are there. It starts nothing itself, and it
// makes no nodes.
package kube

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	api "k8s.io/client-go/tools/clientcmd/api"

	"github.com/nines-ha/nines/ground/network"
	"github.com/nines-ha/nines/internal/cgroup"
	"github.com/nines-ha/nines/internal/namespace"
	"github.com/nines-ha/nines/internal/pki"
)

// Config places a control plane.
type Config struct {
	Region  string
	Plan    network.Plan
	Dir     string // of its keys and data; readable by root alone; gone after a run
	LogDir  string
	Program func(name string) (string, error) // path of a binary, once it is built
	Attach  func(addr netip.Addr, machine *namespace.Set) error
	Group   *cgroup.Group
}

// Cluster is a control plane, running or not.
type Cluster struct {
	config  Config
	ca      *pki.Authority
	front   *pki.Authority // signs what the API server shows to aggregated APIs
	store   *pki.Authority // signs what speaks to etcd
	machine *namespace.Set
}

// New describes a control plane. Nothing is written until its parts start.
func New(config Config) *Cluster { return &Cluster{config: config, machine: &namespace.Set{}} }

// APIServer is the URL of the API server inside the ground.
func (c *Cluster) APIServer() string {
	return fmt.Sprintf("https://%s:6443", c.config.Plan.ControlPlane())
}

// CA is the cluster's authority, which signs nodes, users and serving certificates.
func (c *Cluster) CA() *pki.Authority { return c.ca }

// The identities of the control plane. None but the first may do everything, and
// that one never leaves this process.
const (
	AdminGroup = "nines:administrators" // bound to cluster-admin by Access
	superGroup = "system:masters"
)

// issue makes the authorities and writes what the programs read.
func (c *Cluster) issue() error {
	var err error
	for name, a := range map[string]**pki.Authority{"kubernetes": &c.ca, "front-proxy": &c.front, "etcd": &c.store} {
		if *a, err = pki.New(c.config.Region + "-" + name); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(c.config.Dir, 0o700); err != nil {
		return err
	}
	for name, a := range map[string]*pki.Authority{"ca": c.ca, "front-proxy-ca": c.front, "etcd-ca": c.store} {
		if err := c.write(name+".crt", a.PEM); err != nil {
			return err
		}
	}
	plan := c.config.Plan
	pairs := []struct {
		file    string
		signer  *pki.Authority
		subject pki.Subject
	}{
		{"apiserver", c.ca, pki.Subject{Name: "kube-apiserver", Hosts: []string{
			plan.ControlPlane().String(), plan.APIService().String(), "127.0.0.1", "localhost",
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}}},
		{"kubelet-client", c.ca, pki.Subject{Name: "kube-apiserver-kubelet-client"}},
		{"front-proxy-client", c.front, pki.Subject{Name: "front-proxy-client"}},
		{"etcd", c.store, pki.Subject{Name: "etcd", Hosts: []string{"127.0.0.1", "localhost"}}},
		{"etcd-client", c.store, pki.Subject{Name: "kube-apiserver"}},
		{"controller-manager", c.ca, pki.Subject{Name: "kube-controller-manager", Hosts: []string{"127.0.0.1"}}},
		{"scheduler", c.ca, pki.Subject{Name: "kube-scheduler", Hosts: []string{"127.0.0.1"}}},
	}
	for _, p := range pairs {
		pair, err := p.signer.Issue(p.subject)
		if err != nil {
			return err
		}
		if err := c.write(p.file+".crt", pair.Cert); err != nil {
			return err
		}
		if err := c.write(p.file+".key", pair.Key); err != nil {
			return err
		}
	}
	private, public, err := pki.SigningKey()
	if err != nil {
		return err
	}
	if err := c.write("service-account.key", private); err != nil {
		return err
	}
	if err := c.write("service-account.pub", public); err != nil {
		return err
	}
	for name, user := range map[string]string{"controller-manager": "system:kube-controller-manager", "scheduler": "system:kube-scheduler"} {
		body, err := c.Kubeconfig(c.APIServer(), pki.Subject{Name: user})
		if err != nil {
			return err
		}
		if err := c.write(name+".kubeconfig", body); err != nil {
			return err
		}
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	if err := c.write("encryption.yaml", fmt.Appendf(nil, encryptionConfig, base64.StdEncoding.EncodeToString(key))); err != nil {
		return err
	}
	return c.write("audit.yaml", []byte(auditPolicy))
}

func (c *Cluster) write(name string, body []byte) error {
	return os.WriteFile(c.path(name), body, 0o600)
}

func (c *Cluster) path(name string) string { return filepath.Join(c.config.Dir, name) }

// Kubeconfig makes a client certificate for subject and a kubeconfig around it
// whose one context is named after the region.
func (c *Cluster) Kubeconfig(server string, subject pki.Subject) ([]byte, error) {
	pair, err := c.ca.Issue(subject)
	if err != nil {
		return nil, err
	}
	name := c.config.Region
	return clientcmd.Write(api.Config{
		Clusters:       map[string]*api.Cluster{name: {Server: server, CertificateAuthorityData: c.ca.PEM}},
		AuthInfos:      map[string]*api.AuthInfo{name: {ClientCertificateData: pair.Cert, ClientKeyData: pair.Key}},
		Contexts:       map[string]*api.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	})
}

// Client is a connection from inside the ground as subject.
func (c *Cluster) Client(subject pki.Subject) (*rest.Config, error) {
	pair, err := c.ca.Issue(subject)
	if err != nil {
		return nil, err
	}
	return &rest.Config{
		Host:            c.APIServer(),
		TLSClientConfig: rest.TLSClientConfig{CAData: c.ca.PEM, CertData: pair.Cert, KeyData: pair.Key},
		QPS:             200, Burst: 400,
	}, nil
}

// Root is a connection that may do everything, for what the ground itself applies.
func (c *Cluster) Root() (*rest.Config, error) {
	return c.Client(pki.Subject{Name: "nines:ground", Groups: []string{superGroup}})
}

const encryptionConfig = `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - secretbox: {keys: [{name: key1, secret: %s}]}
`

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, resources: [{group: "", resources: [events]}, {group: events.k8s.io, resources: [events]}, {group: coordination.k8s.io, resources: [leases]}]}
- {level: None, verbs: [get, list, watch]}
- {level: None, resources: [{group: "", resources: [nodes/status, pods/status, endpoints]}, {group: discovery.k8s.io}, {group: authentication.k8s.io}, {group: authorization.k8s.io}]}
- {level: Metadata}
`
