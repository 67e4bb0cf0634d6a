package argo

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// inCluster is how Argo CD calls the cluster that it runs in.
const inCluster = "https://kubernetes.default.svc"

// kindLabel is by which Argo CD finds its settings among Secrets:
// https://argo-cd.readthedocs.io/en/stable/operator-manual/declarative-setup/.
const kindLabel = "argocd.argoproj.io/secret-type"

// secrets are what Argo CD has to know of the repository and of the clusters.
func (c Config) secrets() ([]byte, error) {
	at, err := url.Parse(c.Repository.URL)
	if err != nil || at.Scheme != "https" || at.Hostname() == "" {
		return nil, fmt.Errorf("repository %q is not an address that begins with https://", c.Repository.URL)
	}
	if len(c.Clusters) == 0 {
		return nil, errors.New("there is no cluster to deliver to")
	}
	ours := map[string]string{"app.kubernetes.io/part-of": "argocd"}
	objects := []any{
		// Argo CD's components make these two by themselves when they are missing, and
		// the others fail, or start without, until one has.
		secret("argocd-secret", ours, map[string]string{"server.secretkey": rand.Text() + rand.Text()}),
		secret("argocd-redis", ours, map[string]string{"auth": rand.Text()}),
		&corev1.ConfigMap{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
			ObjectMeta: about("argocd-tls-certs-cm", ours),
			Data:       map[string]string{at.Hostname(): string(c.Repository.CA)}, // by host, whatever the port
		},
		secret("repository", map[string]string{kindLabel: "repository"}, map[string]string{
			"type": "git", "url": c.Repository.URL, "username": c.Repository.Username, "password": c.Repository.Password,
		}),
	}
	for i, cluster := range c.Clusters {
		server, access, err := cluster.access(i == 0)
		if err != nil {
			return nil, fmt.Errorf("cluster of region %s: %w", cluster.Region, err)
		}
		objects = append(objects, secret("cluster-"+cluster.Region, map[string]string{
			kindLabel: "cluster", RegionLabel: cluster.Region, OrderLabel: strconv.Itoa(i + 1),
		}, map[string]string{"name": cluster.Region, "server": server, "config": access}))
	}
	var out []byte
	for _, o := range objects {
		body, err := yaml.Marshal(o)
		if err != nil {
			return nil, err
		}
		out = append(append(out, body...), separator[1:]...)
	}
	return out, nil
}

// access is where a cluster's API server is, and what Argo CD shows to it.
func (c Cluster) access(first bool) (server, config string, err error) {
	type tls struct {
		Insecure bool   `json:"insecure"`
		CA       []byte `json:"caData,omitempty"`
		Cert     []byte `json:"certData,omitempty"`
		Key      []byte `json:"keyData,omitempty"`
	}
	var shown struct {
		TLS tls `json:"tlsClientConfig"`
	}
	server = inCluster
	if !first {
		if c.Server == "" || len(c.CA) == 0 || len(c.Client.Cert) == 0 || len(c.Client.Key) == 0 {
			return "", "", errors.New("it needs an address, an authority and a client's certificate")
		}
		server, shown.TLS = c.Server, tls{CA: c.CA, Cert: c.Client.Cert, Key: c.Client.Key}
	}
	body, err := json.Marshal(shown)
	return server, string(body), err
}

func secret(name string, labels, fields map[string]string) *corev1.Secret {
	data := map[string][]byte{}
	for name, value := range fields {
		data[name] = []byte(value)
	}
	return &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: about(name, labels), Data: data,
	}
}

func about(name string, labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: Namespace, Name: name, Labels: labels}
}
