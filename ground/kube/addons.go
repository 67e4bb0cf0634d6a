package kube

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"net/netip"
	"text/template"

	"github.com/nines-ha/nines/ground/network"
	"github.com/nines-ha/nines/internal/pki"
)

// Images that the addons run, by the names that their projects publish.
const (
	CoreDNSImage       = "registry.k8s.io/coredns/coredns:v1.15.0"
	MetricsServerImage = "registry.k8s.io/metrics-server/metrics-server:v0.9.0"
)

// MetricsServer is the name of that Deployment.
const MetricsServer = "metrics-server"

//go:embed access.yaml
var accessRules []byte

//go:embed coredns.yaml.tmpl
var coreDNS string

//go:embed metrics-server.yaml.tmpl
var metricsServer string

// Access are the rules that must be there before nodes are.
func Access() []byte { return accessRules }

// Addons are the workloads that a managed cluster brings with it: CoreDNS and
// metrics-server. They hold a key and are never written to disk. Apply them when
// the nodes are there: pods spread only over zones that are known.
func (c *Cluster) Addons() ([][]byte, error) {
	serving, err := c.ca.Issue(pki.Subject{Name: "metrics-server", Hosts: []string{"metrics-server.kube-system.svc"}})
	if err != nil {
		return nil, err
	}
	values := struct {
		Resolver, DNS                    netip.Addr
		CoreDNSImage, MetricsServerImage string
		CA, Cert, Key                    string
	}{
		network.Magic, c.config.Plan.DNSService(), CoreDNSImage, MetricsServerImage,
		base64.StdEncoding.EncodeToString(c.ca.PEM),
		base64.StdEncoding.EncodeToString(serving.Cert),
		base64.StdEncoding.EncodeToString(serving.Key),
	}
	var files [][]byte
	for _, text := range []string{coreDNS, metricsServer} {
		t, err := template.New("addon").Option("missingkey=error").Parse(text)
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, values); err != nil {
			return nil, err
		}
		files = append(files, b.Bytes())
	}
	return files, nil
}
