package deliver

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Kinds of what runs a service.
const (
	KindRollout    = "Rollout"
	KindDeployment = "Deployment"
)

const (
	hashLabel     = "rollouts-pod-template-hash"
	revisionLabel = "rollout.argoproj.io/revision" // annotation

	longest     = 1000 // bytes of a message that is told
	mostRefused = 20   // objects
	mostMetrics = 64   // of all runs of one revision
)

// These are the fields of Argo's objects that are looked at. Its own types come
// with all of Kubernetes in versions of their own, and more than a hundred modules.
type (
	application struct {
		Status struct {
			Sync   struct{ Status, Revision string }
			Health struct{ Status string }
			// OperationState is of the last sync, also when it is over.
			OperationState *struct {
				Phase, Message string
				RetryCount     int
				Operation      struct{ Sync *struct{ Revision string } }
				SyncResult     *struct {
					Revision  string
					Resources []struct{ Kind, Namespace, Name, Status, Message, HookPhase string }
				}
			}
			Conditions []struct{ Type, Message string }
		}
	}
	rollout struct {
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			Template corev1.PodTemplateSpec
			Strategy struct{ Canary *struct{ Steps []struct{} } }
		}
		Status struct {
			Phase, Message, CurrentPodHash, StableRS, ObservedGeneration string
			CurrentStepIndex                                             *int
			Abort                                                        bool
			PauseConditions                                              []struct{ Reason string }
			Canary                                                       struct {
				Weights *struct{ Canary struct{ Weight int } }
			}
		}
	}
	analysisRun struct {
		metav1.ObjectMeta `json:"metadata"`
		Status            struct {
			MetricResults []struct {
				Name, Phase, Message               string
				Count, Failed, Inconclusive, Error int
				Measurements                       []struct{ Phase, Value, Message string }
			}
		}
	}
)

// convert reads an object as far as it is looked at.
func convert(o unstructured.Unstructured, into any) error {
	body, err := json.Marshal(o.Object)
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		return fmt.Errorf("read %s %s/%s: %w", o.GetKind(), o.GetNamespace(), o.GetName(), err)
	}
	return nil
}

func short(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > longest {
		return strings.ToValidUTF8(text[:longest], "") + "…"
	}
	return text
}

// syncOf reads an Application.
func syncOf(o unstructured.Unstructured) (Sync, error) {
	var a application
	if err := convert(o, &a); err != nil {
		return Sync{}, err
	}
	s := Sync{Status: a.Status.Sync.Status, Revision: a.Status.Sync.Revision, Health: a.Status.Health.Status}
	for _, c := range a.Status.Conditions {
		if slices.Contains([]string{"ComparisonError", "InvalidSpecError", "UnknownError"}, c.Type) && s.Error == "" {
			s.Error = short(c.Type + ": " + c.Message)
		}
	}
	op := a.Status.OperationState
	if op == nil {
		return s, nil
	}
	s.Operation, s.Message, s.Retries = op.Phase, short(op.Message), op.RetryCount
	if op.Operation.Sync != nil {
		s.Syncing = op.Operation.Sync.Revision
	}
	if op.SyncResult == nil {
		return s, nil
	}
	if s.Syncing = op.SyncResult.Revision; s.Syncing == "" && op.Operation.Sync != nil {
		s.Syncing = op.Operation.Sync.Revision
	}
	for _, r := range op.SyncResult.Resources {
		failed := r.Status == "SyncFailed" || r.HookPhase == "Failed" || r.HookPhase == "Error"
		if failed && len(s.Refused) < mostRefused {
			s.Refused = append(s.Refused, short(fmt.Sprintf("%s %s/%s: %s", r.Kind, r.Namespace, r.Name, r.Message)))
		}
	}
	return s, nil
}

// A workload is what runs a service, as a region has it now.
type workload struct {
	Rollout
	// known says that Phase and all else are about Image, and not about what ran
	// before it: a controller that has not looked yet still tells the old.
	known    bool
	stable   bool // nothing else than Image runs
	hash     string
	revision string // of the Rollout, by which its analyses are told from earlier ones
	uid      string
}

// workloadOf reads a Rollout with its ReplicaSets, or a Deployment.
func workloadOf(o unstructured.Unstructured, sets []unstructured.Unstructured) (workload, error) {
	if o.GetKind() == KindDeployment {
		return deploymentState(o)
	}
	var r rollout
	if err := convert(o, &r); err != nil {
		return workload{}, err
	}
	w := workload{hash: r.Status.CurrentPodHash, revision: r.Annotations[revisionLabel], uid: string(r.UID)}
	w.Phase, w.Message, w.Aborted = r.Status.Phase, short(r.Status.Message), r.Status.Abort
	w.Image = imageOf(r.Name, r.Spec.Template.Spec.Containers)
	w.stable = w.hash != "" && w.hash == r.Status.StableRS
	if c := r.Spec.Strategy.Canary; c != nil {
		w.Steps = len(c.Steps)
	}
	if r.Status.CurrentStepIndex != nil {
		w.Step = min(*r.Status.CurrentStepIndex+1, w.Steps)
	}
	if weights := r.Status.Canary.Weights; weights != nil {
		w.Weight = weights.Canary.Weight
	}
	if len(r.Status.PauseConditions) > 0 {
		w.Paused = r.Status.PauseConditions[0].Reason
	}
	observed := r.Status.ObservedGeneration == strconv.FormatInt(r.Generation, 10)
	for _, o := range sets {
		var set appsv1.ReplicaSet
		if err := convert(o, &set); err != nil {
			return w, err
		}
		if !owned(set.OwnerReferences, w.uid) {
			continue
		}
		pods := Pods{Ready: int(set.Status.ReadyReplicas)}
		if set.Spec.Replicas != nil {
			pods.Wanted = int(*set.Spec.Replicas)
		}
		switch hash := set.Labels[hashLabel]; {
		case hash == r.Status.StableRS:
			w.Stable = pods
		case hash == w.hash:
			w.Canary = pods
		}
		// The status names what it is about by a hash; which image that is only
		// the ReplicaSet tells.
		if set.Labels[hashLabel] == w.hash && imageOf(r.Name, set.Spec.Template.Spec.Containers) == w.Image {
			w.known = observed
		}
	}
	return w, nil
}

func deploymentState(o unstructured.Unstructured) (workload, error) {
	var d appsv1.Deployment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &d); err != nil {
		return workload{}, fmt.Errorf("read Deployment %s/%s: %w", o.GetNamespace(), o.GetName(), err)
	}
	wanted := 1
	if d.Spec.Replicas != nil {
		wanted = int(*d.Spec.Replicas)
	}
	updated, ready := int(d.Status.UpdatedReplicas), int(d.Status.AvailableReplicas)
	w := workload{known: d.Status.ObservedGeneration == d.Generation, uid: string(d.UID)}
	w.Image = imageOf(d.Name, d.Spec.Template.Spec.Containers)
	w.Phase, w.Stable = "Progressing", Pods{Ready: ready, Wanted: wanted}
	w.Message = fmt.Sprintf("%d of %d replicas are of the new version", updated, wanted)
	if updated == wanted && int(d.Status.Replicas) == updated && ready >= wanted {
		w.Phase, w.Message, w.stable = "Healthy", "", true
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Reason == "ProgressDeadlineExceeded" {
			w.Phase, w.Message = "Degraded", short(c.Message)
		}
	}
	return w, nil
}

func owned(owners []metav1.OwnerReference, uid string) bool {
	return slices.ContainsFunc(owners, func(o metav1.OwnerReference) bool { return string(o.UID) == uid })
}

// metricsOf reads the measures of the Rollout's present revision: the same version
// may have been tried and analysed before.
func metricsOf(w workload, runs []unstructured.Unstructured) ([]Metric, error) {
	var all []Metric
	for _, o := range runs {
		var run analysisRun
		if err := convert(o, &run); err != nil {
			return nil, err
		}
		if !owned(run.OwnerReferences, w.uid) || run.Annotations[revisionLabel] != w.revision {
			continue
		}
		for _, r := range run.Status.MetricResults {
			m := Metric{
				Run: run.Name, Name: r.Name, Phase: r.Phase, Message: short(r.Message),
				Count: r.Count, Failed: r.Failed, Unsure: r.Inconclusive, Errors: r.Error,
			}
			if len(r.Measurements) > 0 {
				last := r.Measurements[len(r.Measurements)-1]
				m.Value, m.Last = short(last.Value), last.Phase
				if m.Message == "" {
					m.Message = short(last.Message)
				}
			}
			all = append(all, m)
		}
	}
	slices.SortStableFunc(all, func(a, b Metric) int { return strings.Compare(a.Run+"/"+a.Name, b.Run+"/"+b.Name) })
	return all[:min(len(all), mostMetrics)], nil
}

// imageOf is the image of the container that has the service's name, or of the first.
func imageOf(service string, containers []corev1.Container) string {
	for _, c := range containers {
		if c.Name == service {
			return c.Image
		}
	}
	if len(containers) == 0 {
		return ""
	}
	return containers[0].Image
}
