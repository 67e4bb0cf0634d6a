package kubernetes

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/nines-ha/nines/system"
)

// storesFolder is where a service finds its stores, a folder each.
const storesFolder = "/var/run/stores"

func (w workload) container() corev1.Container {
	c := corev1.Container{
		Name:            string(w.service.Name),
		Image:           w.image,
		ImagePullPolicy: corev1.PullIfNotPresent,
		Ports:           []corev1.ContainerPort{{Name: httpPort, ContainerPort: int32(w.service.Port), Protocol: corev1.ProtocolTCP}},
		Env:             w.identity(),
		Resources:       w.resources(),
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false),
			ReadOnlyRootFilesystem:   new(true),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
		Lifecycle: &corev1.Lifecycle{
			PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: seconds(w.service.Drain.Delay)}},
		},
	}
	if w.service.Probes.Port != w.service.Port {
		c.Ports = append(c.Ports, corev1.ContainerPort{Name: adminPort, ContainerPort: int32(w.service.Probes.Port), Protocol: corev1.ProtocolTCP})
	}
	if len(w.variables) > 0 {
		c.EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: string(w.service.Name)},
		}}}
	}
	for _, store := range w.service.Stores {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{
			Name:      storeVolume(store),
			MountPath: path.Join(storesFolder, string(store)),
			ReadOnly:  true,
		})
	}
	w.addProbes(&c)
	return c
}

// storeVolume names the Secret of a store and the volume that shows it.
func storeVolume(store system.Name) string {
	return "store-" + string(store)
}

// addProbes asks for a start every second, so that a pod serves as soon as it
// can; takes a replica that does not answer out of service within five
// seconds; and restarts it only after half a minute.
func (w workload) addProbes(c *corev1.Container) {
	port := adminPort
	if w.service.Probes.Port == w.service.Port {
		port = httpPort
	}
	probe := func(path system.HTTPPath, period, timeout, failures int32) *corev1.Probe {
		return &corev1.Probe{
			ProbeHandler:     corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: string(path), Port: intstr.FromString(port)}},
			PeriodSeconds:    period,
			TimeoutSeconds:   timeout,
			FailureThreshold: failures,
		}
	}
	c.StartupProbe = probe(w.service.Probes.Startup, 1, 2, int32(seconds(w.service.Probes.Start)))
	c.ReadinessProbe = probe(w.service.Probes.Readiness, 2, 1, 2)
	c.LivenessProbe = probe(w.service.Probes.Liveness, 10, 2, 3)
}

// resources limits memory a quarter above what is asked for, which is what Go
// is told to stay within (GOMEMLIMIT): its collector then works harder before
// the kernel kills. CPU has no limit: throttling would show in the tail while
// cores are idle.
func (w workload) resources() corev1.ResourceRequirements {
	memory := resource.MustParse(string(w.service.Resources.Memory))
	limit := resource.NewQuantity(memory.Value()+memory.Value()/4, resource.BinarySI)
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse(string(w.service.Resources.CPU)),
			corev1.ResourceMemory: memory,
		},
		Limits: corev1.ResourceList{corev1.ResourceMemory: *limit},
	}
}

// identity is what a replica knows of itself.
func (w workload) identity() []corev1.EnvVar {
	field := func(name, fieldPath string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: fieldPath}}}
	}
	value := func(name, value string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, Value: value}
	}
	variables := []corev1.EnvVar{
		field("POD_NAME", "metadata.name"),
		field("POD_NAMESPACE", "metadata.namespace"),
		field("POD_IP", "status.podIP"),
		field("NODE_NAME", "spec.nodeName"),
		field("ZONE", "metadata.labels['"+corev1.LabelTopologyZone+"']"),
		field("REGION", "metadata.labels['"+corev1.LabelTopologyRegion+"']"),
		value("SERVICE_NAME", string(w.service.Name)),
		value("SERVICE_VERSION", w.version()),
		value("HTTP_ADDR", fmt.Sprintf(":%d", w.service.Port)),
		value("DRAIN_DELAY", system.Farewell.String()),
		value("SHUTDOWN_TIMEOUT", w.service.Drain.Timeout.String()),
		{Name: "GOMEMLIMIT", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{
			ContainerName: string(w.service.Name),
			Resource:      "requests.memory",
			Divisor:       resource.MustParse("1"),
		}}},
	}
	if w.service.Probes.Port != w.service.Port {
		variables = append(variables, value("ADMIN_ADDR", fmt.Sprintf(":%d", w.service.Probes.Port)))
	}
	return variables
}

var digest = regexp.MustCompile(`@sha256:([0-9a-f]{12})`)

// version is the image's tag, or the beginning of its digest.
func (w workload) version() string {
	if found := digest.FindStringSubmatch(w.image); found != nil {
		return found[1]
	}
	if colon := strings.LastIndexByte(w.image, ':'); colon > strings.LastIndexByte(w.image, '/') {
		tag := w.image[colon+1:]
		return strings.Trim(tag[:min(len(tag), 63)], "._-")
	}
	return ""
}
