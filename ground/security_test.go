//go:build ground

package ground

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/nines-ha/nines/internal/cgroup"
)

// runDir is the directory that ends with the ground.
func (c *cluster) runDir() string { return filepath.Join(filepath.Dir(c.ground.socket), "run") }

func (c *cluster) logDir() string { return filepath.Join(filepath.Dir(c.ground.socket), "logs") }

func secretsEncrypted(c *cluster) {
	const marker = "gr0und-marker-that-nobody-may-read"
	_, err := c.CoreV1().Secrets(application).Create(c.t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "marker"}, StringData: map[string]string{"key": marker},
	}, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	_, err = c.CoreV1().ConfigMaps(application).Create(c.t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "marker"}, Data: map[string]string{"key": "this-one-is-open"},
	}, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	holds := func(text string) bool {
		found := false
		_ = filepath.WalkDir(filepath.Join(c.runDir(), c.region, "kubernetes", "etcd"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || found {
				return err
			}
			body, err := os.ReadFile(path)
			found = bytes.Contains(body, []byte(text))
			return err
		})
		return found
	}
	for _, there := range []string{"this-one-is-open", "/registry/secrets/" + application + "/marker", "k8s:enc:secretbox:v1:key1:"} {
		if !holds(there) {
			c.t.Errorf("etcd's files do not hold %q: this test looks in the wrong place", there)
		}
	}
	if holds(marker) {
		c.t.Error("etcd's files hold the secret as it is")
	}
}

// keysPrivate looks at every file of the run that holds a key, in the machines too.
func keysPrivate(c *cluster) {
	keys := 0
	for path, body := range c.secretFiles() {
		info, err := os.Stat(path)
		if err != nil || len(body) == 0 {
			continue
		}
		keys++
		if info.Mode().Perm()&0o077 != 0 {
			c.t.Errorf("%s holds a key and has the mode %s", path, info.Mode())
		}
	}
	if keys < 10 {
		c.t.Errorf("%d files with keys are too few to believe", keys)
	}
	for _, socket := range []string{c.ground.socket, filepath.Join(c.runDir(), "world.sock")} {
		if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
			c.t.Errorf("%s has the mode %v, %v", socket, info.Mode(), err)
		}
	}
	if info, err := os.Stat(filepath.Dir(c.ground.socket)); err != nil || info.Mode().Perm() != 0o700 {
		c.t.Errorf("the ground's directory has the mode %v, %v", info.Mode(), err)
	}
}

var keyText = regexp.MustCompile(`PRIVATE KEY-----\n([A-Za-z0-9+/=\n]+)-----|client-key-data: ([A-Za-z0-9+/=]+)|secret: ([A-Za-z0-9+/=]+)`)

// secretFiles are the small files of the run that hold keys, with a piece of one.
func (c *cluster) secretFiles() map[string]string {
	found := map[string]string{}
	_ = filepath.WalkDir(filepath.Dir(c.ground.socket), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if d.IsDir() && (d.Name() == "etcd" || d.Name() == "containerd" || d.Name() == "data") {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() || info.Size() > 64<<10 {
			return nil
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		if m := keyText.FindSubmatch(body); m != nil {
			key := strings.ReplaceAll(string(m[1])+string(m[2])+string(m[3]), "\n", "")
			found[path] = key[len(key)/2:] // the first half of a PKCS #8 key says only what it is
		}
		return nil
	})
	return found
}

func noSecretInArguments(c *cluster) {
	secrets := c.secretFiles()
	store, err := c.CoreV1().Secrets(application).Get(c.t.Context(), "store-ledger", metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	secrets["the store's password"] = string(store.Data["password"])
	g, err := cgroup.Open(group(c.ground.Name))
	if err != nil {
		c.t.Fatal(err)
	}
	pids := g.Processes()
	if len(pids) < 40 || len(secrets) < 10 {
		c.t.Errorf("%d processes and %d secrets are too few to believe", len(pids), len(secrets))
	}
	for _, pid := range pids {
		command, env := string(commandLine(pid)), environment(pid)
		for what, secret := range secrets {
			if strings.Contains(command, secret) || strings.Contains(env, secret) {
				c.t.Errorf("an argument or the environment of %s holds what is in %s", secondWord([]byte(command)), what)
			}
		}
		if strings.Contains(command, "PRIVATE KEY") || strings.Contains(command, "eyJhbGciOi") {
			c.t.Errorf("process %d has a key or a token among its arguments", pid)
		}
	}
}

// nodeAuthorizer speaks to the API server with a node's own certificate.
func nodeAuthorizer(c *cluster) {
	ctx := c.t.Context()
	const self, other = "westeurope-1-1", "westeurope-2-1"
	kubelet, err := clientcmd.BuildConfigFromFlags("", filepath.Join(c.runDir(), c.region, "nodes", self, "etc", "kubelet.kubeconfig"))
	if err != nil {
		c.t.Fatal(err)
	}
	config := rest.CopyConfig(kubelet)
	config.Host = c.rest.Host
	node, err := kubernetes.NewForConfig(config)
	if err != nil {
		c.t.Fatal(err)
	}
	who, err := node.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil || who.Status.UserInfo.Username != "system:node:"+self {
		c.t.Fatalf("the node is %v, %v", who, err)
	}
	for name, on := range map[string]string{"mine": self, "theirs": other} {
		_, err := c.CoreV1().Secrets(application).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil {
			c.t.Fatal(err)
		}
		pod := c.pod("uses-" + name)
		pod.Spec.NodeName = on
		pod.Spec.Volumes = []corev1.Volume{{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name}}}}
		if _, err := c.CoreV1().Pods(application).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			c.t.Fatal(err)
		}
		defer c.delete(pod.Name)
	}
	eventually(c.t, 10*time.Second, "the node may read what its own pod mounts", func() error {
		_, err := node.CoreV1().Secrets(application).Get(ctx, "mine", metav1.GetOptions{})
		return err
	})
	refused := map[string]error{}
	_, refused["read a secret of another node's pod"] = node.CoreV1().Secrets(application).Get(ctx, "theirs", metav1.GetOptions{})
	_, refused["read a secret of nobody's pod"] = node.CoreV1().Secrets(application).Get(ctx, "store-ledger", metav1.GetOptions{})
	_, refused["list secrets"] = node.CoreV1().Secrets(application).List(ctx, metav1.ListOptions{})
	_, refused["label another node"] = node.CoreV1().Nodes().Patch(ctx, other, types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{})
	_, refused["take the zone of another"] = node.CoreV1().Nodes().Patch(ctx, self, types.MergePatchType, []byte(`{"metadata":{"labels":{"node-restriction.kubernetes.io/a":"b"}}}`), metav1.PatchOptions{})
	for what, err := range refused {
		if !apierrors.IsForbidden(err) {
			c.t.Errorf("a node that wants to %s gets %v, want forbidden", what, err)
		}
	}
}

func podSecurity(c *cluster) {
	pod := c.pod("privileged")
	yes := true
	pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
	_, err := c.CoreV1().Pods(application).Create(c.t.Context(), pod, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `violates PodSecurity "restricted`) {
		c.t.Errorf("a privileged pod gets %v", err)
	}
}

func auditLog(c *cluster) {
	body, err := os.ReadFile(filepath.Join(c.logDir(), c.region+"-audit.log"))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, want := range []string{`"verb":"create"`, `"username":"nines:administrator"`, `/namespaces/` + application + `/secrets`} {
		if !bytes.Contains(body, []byte(want)) {
			c.t.Errorf("the audit log has no %s", want)
		}
	}
	if bytes.Contains(body, []byte("gr0und-marker")) {
		c.t.Error("the audit log holds what is in a secret")
	}
}

// pod is one of the test's own that runs on its own.
func (c *cluster) pod(name string) *corev1.Pod {
	yes, no, id := true, false, int64(65532)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &id, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			Containers: []corev1.Container{{
				Name: "server", Image: c.image(),
				SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
			}},
		},
	}
}

func (c *cluster) image() string {
	c.t.Helper()
	web, err := c.AppsV1().Deployments(application).Get(c.t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return web.Spec.Template.Spec.Containers[0].Image
}

func (c *cluster) delete(pod string) {
	at := int64(0)
	_ = c.CoreV1().Pods(application).Delete(c.t.Context(), pod, metav1.DeleteOptions{GracePeriodSeconds: &at})
}
