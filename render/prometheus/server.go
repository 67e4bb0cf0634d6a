package prometheus

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/nines-ha/nines/render"
)

const (
	user = 65534 // nobody, as in the image

	configFolder = "/etc/prometheus"
	configFile   = "prometheus.yaml"
	rulesFile    = "rules.yaml"
	dataFolder   = "/prometheus"

	// A canary is judged by minutes. What is older is for people, and costs disk
	// and memory: series of pods that are long gone.
	retentionTime = "6h"
	retentionSize = "512MB"
	diskLimit     = "1Gi" // with what is not yet in a block

	memory      = "128Mi"
	memoryLimit = "512Mi"

	configAnnotation = "nines-ha.github.io/config" // makes a change of it roll the pod
)

func (m monitoring) add(files *render.Set) error {
	config, err := m.config()
	if err != nil {
		return fmt.Errorf("encode the configuration: %w", err)
	}
	rules, err := rules()
	if err != nil {
		return fmt.Errorf("encode the rules: %w", err)
	}
	data := map[string]string{configFile: config, rulesFile: rules}
	add := func(name string, object any) { files.Add(path.Join(Folder, name), object) }
	add("namespace.yaml", namespace())
	add("serviceaccount.yaml", &corev1.ServiceAccount{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta: meta(Name),
	})
	add("clusterrole.yaml", discovery())
	add("clusterrolebinding.yaml", discoveryAnywhere())
	add("configmap.yaml", &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: meta(Name),
		Data:       data,
	})
	add("service.yaml", endpoint())
	add("deployment.yaml", deployment(hash(config, rules)))
	return nil
}

func hash(texts ...string) string {
	h := sha256.New()
	for _, text := range texts {
		h.Write([]byte(text))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func namespace() *corev1.Namespace {
	l := labels()
	for _, mode := range []string{"enforce", "audit", "warn"} {
		l["pod-security.kubernetes.io/"+mode] = "restricted"
	}
	return &corev1.Namespace{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: Namespace, Labels: l},
	}
}

const discoveryRole = "prometheus-discovery"

// discovery is all that it may do: find pods.
func discovery() *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{
		TypeMeta:   metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole"},
		ObjectMeta: metav1.ObjectMeta{Name: discoveryRole, Labels: labels()},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list", "watch"}}},
	}
}

// discoveryAnywhere is for the whole cluster. A binding in each namespace that is
// scraped would permit less, and has to wait for them: that of the system is made
// after the platform is healthy, which this is a part of.
func discoveryAnywhere() *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRoleBinding"},
		ObjectMeta: metav1.ObjectMeta{Name: discoveryRole, Labels: labels()},
		RoleRef:    rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: discoveryRole},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: Name, Namespace: Namespace}},
	}
}

func endpoint() *corev1.Service {
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: meta(Name),
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeClusterIP,
			Selector: selector(),
			Ports:    []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: Port, TargetPort: intstr.FromString("http")}},
		},
	}
}

// deployment is of one replica: nothing but a canary needs it, and that waits. Two
// would not know the same, since each begins with nothing. It is no StatefulSet and
// has no disk: with a disk it could not leave its zone, and a StatefulSet does not
// replace a pod on a node that nobody hears from. What is lost with a pod is a
// canary's window. One at a time: an answer is then from one that knows all.
func deployment(config string) *appsv1.Deployment {
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: meta(Name),
		Spec: appsv1.DeploymentSpec{
			Replicas:             new(int32(1)),
			Selector:             &metav1.LabelSelector{MatchLabels: selector()},
			RevisionHistoryLimit: new(int32(2)),
			Strategy:             appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels(), Annotations: map[string]string{configAnnotation: config}},
				Spec:       pod(),
			},
		},
	}
}

func pod() corev1.PodSpec {
	return corev1.PodSpec{
		ServiceAccountName:            Name,
		EnableServiceLinks:            new(false),
		TerminationGracePeriodSeconds: new(int64(30)),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot:   new(true),
			RunAsUser:      new(int64(user)),
			RunAsGroup:     new(int64(user)),
			FSGroup:        new(int64(user)),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Tolerations: render.Tolerations(),
		Containers:  []corev1.Container{container()},
		Volumes: []corev1.Volume{
			{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: Name}}}},
			{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: new(resource.MustParse(diskLimit))}}},
		},
	}
}

func container() corev1.Container {
	probe := func(path string, period, failures int32) *corev1.Probe {
		return &corev1.Probe{
			ProbeHandler:     corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString("http")}},
			PeriodSeconds:    period,
			TimeoutSeconds:   2,
			FailureThreshold: failures,
		}
	}
	return corev1.Container{
		Name:            Name,
		Image:           Image,
		ImagePullPolicy: corev1.PullIfNotPresent,
		Args: []string{
			"--config.file=" + path.Join(configFolder, configFile),
			"--storage.tsdb.path=" + dataFolder,
			fmt.Sprintf("--web.listen-address=:%d", Port),
			// Bounds for whoever asks: a query, all of them together, and connections.
			"--query.timeout=10s",
			"--query.max-concurrency=4",
			"--query.max-samples=5000000",
			"--web.max-connections=64",
		},
		Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: Port, Protocol: corev1.ProtocolTCP}},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse(memory)},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memoryLimit)},
		},
		StartupProbe:   probe("/-/ready", 1, 120),
		ReadinessProbe: probe("/-/ready", 5, 3),
		LivenessProbe:  probe("/-/healthy", 10, 3),
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false),
			ReadOnlyRootFilesystem:   new(true),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
		VolumeMounts: []corev1.VolumeMount{
			{Name: "config", MountPath: configFolder, ReadOnly: true},
			{Name: "data", MountPath: dataFolder},
		},
	}
}
