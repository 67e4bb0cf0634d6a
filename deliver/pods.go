package deliver

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// whyNot says what keeps the first pod, by name, that cannot get ready; "" if they
// only take their time. It is the same from one restart to the next.
func whyNot(pods []unstructured.Unstructured) (string, error) {
	slices.SortFunc(pods, func(a, b unstructured.Unstructured) int { return strings.Compare(a.GetName(), b.GetName()) })
	for _, o := range pods {
		var pod corev1.Pod
		if err := convert(o, &pod); err != nil {
			return "", err
		}
		if why := keeps(pod.Status); why != "" {
			return short(why), nil
		}
	}
	return "", nil
}

func keeps(pod corev1.PodStatus) string {
	for _, c := range pod.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "no node takes it: " + c.Message
		}
	}
	for _, c := range slices.Concat(pod.InitContainerStatuses, pod.ContainerStatuses) {
		if c.Ready {
			continue
		}
		for _, ended := range []*corev1.ContainerStateTerminated{c.State.Terminated, c.LastTerminationState.Terminated} {
			if ended != nil && ended.ExitCode != 0 {
				return fmt.Sprintf("container %s ended with exit code %d: %s", c.Name, ended.ExitCode, ended.Reason)
			}
		}
		if waiting := c.State.Waiting; waiting != nil {
			switch waiting.Reason {
			case "", "ContainerCreating", "PodInitializing", "CrashLoopBackOff":
			case "ErrImagePull", "ImagePullBackOff":
				return fmt.Sprintf("container %s waits: its image cannot be pulled", c.Name)
			default:
				return fmt.Sprintf("container %s waits: %s %s", c.Name, waiting.Reason, waiting.Message)
			}
		}
	}
	return ""
}
