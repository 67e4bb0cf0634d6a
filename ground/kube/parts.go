package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nines-ha/nines/ground/part"
	"github.com/nines-ha/nines/internal/namespace"
	"github.com/nines-ha/nines/internal/process"
)

// PartName is the full name of a part of a region.
func PartName(region, name string) string { return region + "/" + name }

// Parts are the control plane: a machine of its own with the four programs in it.
// after is what must be ready before (the network). The programs etcd and
// kube-apiserver need the engines of that name.
func (c *Cluster) Parts(after ...string) []part.Part {
	name := func(n string) string { return PartName(c.config.Region, n) }
	etcd := c.program("etcd", c.etcdArgs())
	apiserver := c.program("kube-apiserver", c.apiserverArgs())
	controllers := c.program("kube-controller-manager", c.controllerArgs())
	scheduler := c.program("kube-scheduler", c.schedulerArgs())
	return []part.Part{
		{
			Name:    name("certificates"),
			About:   "authorities, keys and kubeconfigs of the control plane",
			Prepare: func(context.Context) error { return c.issue() },
		},
		{
			Name:    name("control-plane"),
			Needs:   after,
			About:   fmt.Sprintf("machine at %s", c.config.Plan.ControlPlane()),
			Prepare: func(context.Context) error { return c.plugIn() },
			Undo:    func(context.Context) error { c.machine.Close(); return nil },
		},
		{
			Name:    name("etcd"),
			Needs:   []string{name("certificates"), name("control-plane"), "engine/etcd"},
			About:   "the cluster's store; fresh at each start",
			Program: etcd, Prepare: c.find(etcd),
			Ready: c.etcdReady(),
		},
		{
			Name:    name("apiserver"),
			Needs:   []string{name("etcd"), "engine/kubernetes"},
			About:   c.APIServer(),
			Program: apiserver, Prepare: c.find(apiserver),
			Ready: c.apiserverReady,
		},
		{
			Name:    name("controller-manager"),
			Needs:   []string{name("apiserver")},
			About:   "the controllers of Kubernetes",
			Program: controllers, Prepare: c.find(controllers),
			Ready: c.localReady(10257),
		},
		{
			Name:    name("scheduler"),
			Needs:   []string{name("apiserver")},
			About:   "places pods on nodes",
			Program: scheduler, Prepare: c.find(scheduler),
			Ready: c.localReady(10259),
		},
	}
}

func (c *Cluster) plugIn() error {
	set, err := namespace.NewAttached(func(s *namespace.Set) error { return c.config.Attach(c.config.Plan.ControlPlane(), s) })
	if err != nil {
		return err
	}
	*c.machine = *set
	return nil
}

func (c *Cluster) program(binary string, args []string) *process.Spec {
	return &process.Spec{
		Name:         PartName(c.config.Region, strings.TrimPrefix(binary, "kube-")),
		Path:         binary,
		Args:         args,
		Env:          []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/nonexistent", "GOGC=50"}, // 50 MB less, for 3 % more work at the start
		Dir:          "/",
		LogFile:      filepath.Join(c.config.LogDir, c.config.Region+"-"+strings.TrimPrefix(binary, "kube-")+".log"),
		Namespaces:   c.machine,
		Group:        c.config.Group,
		RestartAfter: time.Second,
	}
}

// find resolves a program's path once its engine is there.
func (c *Cluster) find(spec *process.Spec) func(context.Context) error {
	return func(context.Context) (err error) {
		spec.Path, err = c.config.Program(filepath.Base(spec.Path))
		return err
	}
}

func (c *Cluster) etcdArgs() []string {
	const client, peer = "https://127.0.0.1:2379", "https://127.0.0.1:2380"
	return []string{
		"--name=etcd",
		"--data-dir=" + c.path("etcd"),
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=etcd=" + peer,
		"--client-cert-auth", "--trusted-ca-file=" + c.path("etcd-ca.crt"),
		"--cert-file=" + c.path("etcd.crt"), "--key-file=" + c.path("etcd.key"),
		"--peer-client-cert-auth", "--peer-trusted-ca-file=" + c.path("etcd-ca.crt"),
		"--peer-cert-file=" + c.path("etcd.crt"), "--peer-key-file=" + c.path("etcd.key"),
		"--unsafe-no-fsync", // its life is one run; what must last is in the stores
		"--log-level=warn",
	}
}

func (c *Cluster) apiserverArgs() []string {
	p := c.config.Plan
	return []string{
		"--etcd-servers=https://127.0.0.1:2379",
		"--etcd-cafile=" + c.path("etcd-ca.crt"), "--etcd-certfile=" + c.path("etcd-client.crt"), "--etcd-keyfile=" + c.path("etcd-client.key"),
		"--bind-address=0.0.0.0", "--secure-port=6443", "--advertise-address=" + p.ControlPlane().String(),
		"--tls-cert-file=" + c.path("apiserver.crt"), "--tls-private-key-file=" + c.path("apiserver.key"), "--cert-dir=" + c.config.Dir,
		"--client-ca-file=" + c.path("ca.crt"),
		"--anonymous-auth=false",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-cluster-ip-range=" + p.Services().String(),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.path("service-account.pub"), "--service-account-signing-key-file=" + c.path("service-account.key"),
		"--kubelet-certificate-authority=" + c.path("ca.crt"),
		"--kubelet-client-certificate=" + c.path("kubelet-client.crt"), "--kubelet-client-key=" + c.path("kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file=" + c.path("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + c.path("front-proxy-client.crt"), "--proxy-client-key-file=" + c.path("front-proxy-client.key"),
		"--enable-aggregator-routing=true", // it has no kube-proxy beside it: webhooks are reached by endpoint
		"--allow-privileged=true",
		"--encryption-provider-config=" + c.path("encryption.yaml"),
		"--audit-policy-file=" + c.path("audit.yaml"),
		"--audit-log-path=" + filepath.Join(c.config.LogDir, c.config.Region+"-audit.log"),
		"--audit-log-maxsize=20", "--audit-log-maxbackup=1",
		"--profiling=false",
	}
}

func (c *Cluster) controllerArgs() []string {
	p := c.config.Plan
	kubeconfig := c.path("controller-manager.kubeconfig")
	return append([]string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1", "--secure-port=10257",
		"--tls-cert-file=" + c.path("controller-manager.crt"), "--tls-private-key-file=" + c.path("controller-manager.key"),
		"--use-service-account-credentials",
		"--root-ca-file=" + c.path("ca.crt"),
		"--service-account-private-key-file=" + c.path("service-account.key"),
		"--allocate-node-cidrs", "--configure-cloud-routes=false",
		"--cluster-cidr=" + p.Pods().String(), "--node-cidr-mask-size=24",
		"--service-cluster-ip-range=" + p.Services().String(),
		"--flex-volume-plugin-dir=" + c.path("flexvolume"), // else it makes /usr/libexec/kubernetes on the host
		"--node-monitor-period=1s", "--node-monitor-grace-period=10s",
		"--kube-api-qps=200", "--kube-api-burst=400", // 20 and 30 make some hundred requests at the start take 4 s
		"--profiling=false",
	}, election...)
}

// election has a controller that cannot reach the API server for longer than the
// renew deadline end and start afresh, as on AKS. There is one of each, so nobody
// else could lead; but one that went on would act for up to a minute on what it
// knew before, since its watches come back ever later: it took every node for
// lost, and all replicas out of service. The periods are upstream's (15 s, 10 s,
// 2 s) in proportion to the grace period of nodes.
var election = []string{"--leader-elect-lease-duration=" + LeaseDuration.String(), "--leader-elect-renew-deadline=4s", "--leader-elect-retry-period=1s"}

// LeaseDuration is how long a controller that is gone still leads.
const LeaseDuration = 6 * time.Second

func (c *Cluster) schedulerArgs() []string {
	kubeconfig := c.path("scheduler.kubeconfig")
	return append([]string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1", "--secure-port=10259",
		"--tls-cert-file=" + c.path("scheduler.crt"), "--tls-private-key-file=" + c.path("scheduler.key"),
		"--profiling=false",
	}, election...)
}

func (c *Cluster) etcdReady() func(context.Context) error {
	return func(ctx context.Context) error {
		pair, err := tls.LoadX509KeyPair(c.path("etcd-client.crt"), c.path("etcd-client.key"))
		if err != nil {
			return err
		}
		return c.get(ctx, c.machine, "https://127.0.0.1:2379/readyz", &tls.Config{RootCAs: pool(c.store.PEM), Certificates: []tls.Certificate{pair}})
	}
}

func (c *Cluster) apiserverReady(ctx context.Context) error {
	pair, err := tls.LoadX509KeyPair(c.path("kubelet-client.crt"), c.path("kubelet-client.key"))
	if err != nil {
		return err
	}
	return c.get(ctx, c.machine, "https://127.0.0.1:6443/readyz", &tls.Config{RootCAs: pool(c.ca.PEM), Certificates: []tls.Certificate{pair}})
}

// localReady asks a controller that listens on the control plane's own loopback.
func (c *Cluster) localReady(port int) func(context.Context) error {
	return func(ctx context.Context) error {
		return c.get(ctx, c.machine, fmt.Sprintf("https://127.0.0.1:%d/healthz", port), &tls.Config{RootCAs: pool(c.ca.PEM)})
	}
}

func pool(pem []byte) *x509.CertPool {
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(pem)
	return p
}

func (c *Cluster) get(ctx context.Context, from *namespace.Set, url string, config *tls.Config) error {
	transport := &http.Transport{DialContext: from.Dial, TLSClientConfig: config, DisableKeepAlives: true}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status + ": " + strings.TrimSpace(string(body)))
	}
	return nil
}

// Forget removes the cluster's keys and data.
func (c *Cluster) Forget() error { return os.RemoveAll(c.config.Dir) }
