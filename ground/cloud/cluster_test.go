//go:build ground

package cloud

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/nines-ha/nines/ground/engine"
	"github.com/nines-ha/nines/internal/pki"
)

// TestOnARealAPIServer is the proof that the rights in Manifests are enough:
// any "forbidden" fails it.
func TestOnARealAPIServer(t *testing.T) {
	cluster := startCluster(t)
	admin := kubernetes.NewForConfigOrDie(cluster.client(t, pki.Subject{Name: "admin", Groups: []string{"system:masters"}}))
	applyManifests(t, admin)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "fleet"}}
	_, err := admin.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{})
	must(t, err)

	f, p := &fabric{machines: []Machine{machine(1), machine(2)}}, &plane{}
	cfg := testConfig(t, f, p)
	cfg.REST = cluster.client(t, pki.Subject{Name: User})
	denied := &denials{}
	cfg.REST.Wrap(denied.wrap)
	start(t, func(ctx context.Context) error { return Run(ctx, cfg) })

	addNode(t, admin, 2)
	begun := time.Now()
	addNode(t, admin, 1)
	eventually(t, "node 1 initialised", func() bool {
		node, err := admin.CoreV1().Nodes().Get(t.Context(), name(1), metav1.GetOptions{})
		must(t, err)
		return len(cloudTaints(node)) == 0
	})
	t.Logf("a node is initialised after %v", time.Since(begun).Round(time.Millisecond))

	service := loadBalancer(corev1.ServicePort{Protocol: corev1.ProtocolTCP, Port: 80})
	service.UID = ""
	_, err = admin.CoreV1().Services("fleet").Create(t.Context(), service, metav1.CreateOptions{})
	must(t, err)
	t.Run("balancer", func(t *testing.T) { balancerLife(t, admin, p) })
	t.Run("disk", func(t *testing.T) { diskLife(t, admin) })
	t.Run("node", func(t *testing.T) { nodeLife(t, admin, f) })
	if refused := denied.list(); len(refused) > 0 {
		t.Errorf("the API server refused:\n%s", strings.Join(refused, "\n"))
	}
}

func addNode(t *testing.T, admin kubernetes.Interface, n int) {
	t.Helper()
	node := newNode(n)
	created, err := admin.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{})
	must(t, err)
	for { // the controllers are quick, and what they have written stays
		created.Status.Conditions = node.Status.Conditions
		_, err = admin.CoreV1().Nodes().UpdateStatus(t.Context(), created, metav1.UpdateOptions{})
		if !apierrors.IsConflict(err) {
			must(t, err)
			return
		}
		created, err = admin.CoreV1().Nodes().Get(t.Context(), node.Name, metav1.GetOptions{})
		must(t, err)
	}
}

// diskLife does the scheduler's and the volume controller's part itself.
func diskLife(t *testing.T, admin kubernetes.Interface) {
	class := "managed-csi"
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data", Namespace: "fleet", Annotations: map[string]string{
			"volume.kubernetes.io/selected-node": name(2), "volume.kubernetes.io/storage-provisioner": DiskProvisioner,
		}},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
	_, err := admin.CoreV1().PersistentVolumeClaims("fleet").Create(t.Context(), claim, metav1.CreateOptions{})
	must(t, err)
	var pv *corev1.PersistentVolume
	eventually(t, "a volume", func() bool {
		list, err := admin.CoreV1().PersistentVolumes().List(t.Context(), metav1.ListOptions{})
		must(t, err)
		if len(list.Items) == 1 {
			pv = &list.Items[0]
		}
		return pv != nil
	})
	if zone := pv.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values[0]; zone != "westeurope-2" {
		t.Errorf("the volume is in %s", zone)
	}
	if _, err := os.Stat(pv.Spec.Local.Path); err != nil {
		t.Error(err)
	}
	pv.Status.Phase = corev1.VolumeReleased
	_, err = admin.CoreV1().PersistentVolumes().UpdateStatus(t.Context(), pv, metav1.UpdateOptions{})
	must(t, err)
	eventually(t, "the disk gone and the volume let go", func() bool {
		_, statErr := os.Stat(pv.Spec.Local.Path)
		pv, err := admin.CoreV1().PersistentVolumes().Get(t.Context(), pv.Name, metav1.GetOptions{})
		must(t, err) // the volume controller's own finalizer keeps it
		return errors.Is(statErr, os.ErrNotExist) && pv.DeletionTimestamp != nil && slices.Equal(pv.Finalizers, []string{"kubernetes.io/pv-protection"})
	})
}

func applyManifests(t *testing.T, admin kubernetes.Interface) {
	t.Helper()
	for document := range bytes.SplitSeq(Manifests(), []byte("---\n")) {
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(document, nil, nil)
		must(t, err)
		switch o := object.(type) {
		case *rbacv1.ClusterRole:
			_, err = admin.RbacV1().ClusterRoles().Create(t.Context(), o, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
		case *rbacv1.ClusterRoleBinding:
			_, err = admin.RbacV1().ClusterRoleBindings().Create(t.Context(), o, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
		case *storagev1.StorageClass:
			_, err = admin.StorageV1().StorageClasses().Create(t.Context(), o, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
		default:
			t.Fatalf("unexpected %T", object)
		}
		must(t, err)
	}
}

// denials collects what the API server forbade.
type denials struct {
	mu      sync.Mutex
	refused []string
}

func (d *denials) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTrip(func(request *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(request)
		if err == nil && response.StatusCode == http.StatusForbidden {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.refused = append(d.refused, request.Method+" "+request.URL.Path)
		}
		return response, err
	})
}

func (d *denials) list() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	slices.Sort(d.refused)
	return slices.Compact(d.refused)
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A cluster is etcd and an API server on loopback.
type cluster struct {
	ca   *pki.Authority
	host string
}

func (c *cluster) client(t *testing.T, who pki.Subject) *rest.Config {
	t.Helper()
	pair, err := c.ca.Issue(who)
	must(t, err)
	return &rest.Config{Host: c.host, TLSClientConfig: rest.TLSClientConfig{CAData: c.ca.PEM, CertData: pair.Cert, KeyData: pair.Key}}
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	etcd, apiserver := program(t, "etcd"), program(t, "kube-apiserver")
	dir := t.TempDir()
	ca, err := pki.New("test")
	must(t, err)
	server, err := ca.Issue(pki.Subject{Name: "kube-apiserver", Hosts: []string{"127.0.0.1"}})
	must(t, err)
	private, public, err := pki.SigningKey()
	must(t, err)
	for file, data := range map[string][]byte{"ca.crt": ca.PEM, "tls.crt": server.Cert, "tls.key": server.Key, "sa.key": private, "sa.pub": public} {
		must(t, os.WriteFile(filepath.Join(dir, file), data, 0o600))
	}
	in := func(file string) string { return filepath.Join(dir, file) }
	store, peer, api := freePort(t), freePort(t), freePort(t)
	launch(t, etcd, "--data-dir="+in("etcd"), "--unsafe-no-fsync",
		"--listen-client-urls=http://127.0.0.1:"+store, "--advertise-client-urls=http://127.0.0.1:"+store,
		"--listen-peer-urls=http://127.0.0.1:"+peer, "--initial-advertise-peer-urls=http://127.0.0.1:"+peer, "--initial-cluster=default=http://127.0.0.1:"+peer)
	launch(t, apiserver, "--etcd-servers=http://127.0.0.1:"+store, "--bind-address=127.0.0.1", "--secure-port="+api,
		"--tls-cert-file="+in("tls.crt"), "--tls-private-key-file="+in("tls.key"), "--client-ca-file="+in("ca.crt"), "--cert-dir="+dir,
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+in("sa.pub"), "--service-account-signing-key-file="+in("sa.key"),
		"--service-cluster-ip-range=10.200.0.0/16", "--authorization-mode=RBAC", "--anonymous-auth=false")
	c := &cluster{ca: ca, host: "https://127.0.0.1:" + api}
	client := kubernetes.NewForConfigOrDie(c.client(t, pki.Subject{Name: "admin", Groups: []string{"system:masters"}}))
	deadline := time.Now().Add(time.Minute)
	for {
		_, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(t.Context())
		if err == nil {
			return c
		}
		if time.Now().After(deadline) {
			t.Fatalf("the API server is not ready: %v", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func program(t *testing.T, name string) string {
	t.Helper()
	source, err := engine.Source("")
	must(t, err)
	cache, err := engine.CacheDir()
	must(t, err)
	path, err := (&engine.Builder{CacheDir: cache, Source: source}).Path(name)
	if err == nil {
		return path
	}
	if path, lookErr := exec.LookPath(name); lookErr == nil {
		return path
	}
	t.Skip(err)
	return ""
}

func launch(t *testing.T, path string, args ...string) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &out, io.Writer(&out)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, cmd.Start())
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		cmd.Wait()
		if t.Failed() {
			lines := strings.Split(out.String(), "\n")
			t.Logf("%s said last:\n%s", filepath.Base(path), strings.Join(lines[max(0, len(lines)-15):], "\n"))
		}
	})
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	must(t, err)
	return port
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(fmt.Errorf("unexpected: %w", err))
	}
}
