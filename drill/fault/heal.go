package fault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/nines-ha/nines/drill/workload"
	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/record"
)

const (
	mendWait      = 2 * time.Minute  // all steps, with their retries
	stepWait      = 30 * time.Second // one try of one step
	applyWait     = 150 * time.Second
	settled       = 300 * time.Millisecond // for an order that was on its way
	killedSettled = 2 * time.Second        // for those of a process that was killed
)

// mender undoes from Access alone.
type mender struct {
	access Access
	kube   kubernetes.Interface
	// objects are those of kinds that Kubernetes itself does not have.
	objects dynamic.Interface
	log     *slog.Logger
}

// newMender reads the kubeconfig now: it may be gone when it is needed.
func newMender(a Access, log *slog.Logger) (*mender, error) {
	config, err := a.config()
	if err != nil {
		return nil, err
	}
	config.Timeout = stepWait
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &mender{access: a, kube: kube, objects: objects, log: log}, nil
}

func (a Access) config() (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = a.Kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: a.Context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	config.UserAgent = manager
	return config, nil
}

// mend does every step, and looks again after a while: what was being broken
// when the order to heal came may have been broken after its step.
func (m *mender) mend(ctx context.Context, heals []Heal, settle time.Duration, tell func(record.Event)) error {
	ctx, cancel := context.WithTimeout(ctx, mendWait)
	defer cancel()
	if err := m.steps(ctx, heals, tell); err != nil {
		return err
	}
	if err := pause(ctx, settle); err != nil {
		return err
	}
	return m.steps(ctx, heals, tell)
}

// steps does every step, in order, and those that failed again and again until
// ctx ends: one that cannot be done does not keep the others from being done. A
// ground that is gone, asked three times in a row, is healed.
func (m *mender) steps(ctx context.Context, heals []Heal, tell func(record.Event)) error {
	gone := 0
	backoff := wait.Backoff{Duration: 200 * time.Millisecond, Factor: 1.6, Jitter: 0.2, Cap: 5 * time.Second, Steps: 1 << 10}
	for {
		var failed []Heal
		var errs []error
		for _, h := range heals {
			changed, err := m.step(ctx, h)
			switch {
			case err != nil:
				m.log.Warn("heal", "step", h.String(), "error", err)
				failed, errs = append(failed, h), append(errs, fmt.Errorf("%s: %w", h, err))
			case changed:
				m.log.Info("heal", "step", h.String())
				tell(record.Event{Kind: record.Fault, Name: h.target(), State: undone, Node: h.Node, Text: h.String()})
			}
		}
		if gone++; !m.groundGone() {
			gone = 0
		}
		if len(failed) == 0 || gone == 3 {
			return nil
		}
		heals = failed
		if pause(ctx, backoff.Step()) != nil {
			return errors.Join(errs...)
		}
	}
}

func (m *mender) groundGone() bool {
	if m.access.Ground == "" {
		return false
	}
	_, err := ground.Connect(m.access.Ground)
	return errors.Is(err, ground.ErrNotRunning)
}

// step says whether there was something to undo.
func (m *mender) step(ctx context.Context, h Heal) (changed bool, err error) {
	within := stepWait
	if h.Do == "apply" {
		within = applyWait
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	switch h.Do {
	case "uncordon":
		return m.uncordon(ctx, h)
	case "scale":
		return m.scale(ctx, h)
	case "autoscale":
		return m.autoscale(ctx, h)
	case "failurePolicy":
		return m.failurePolicy(ctx, h)
	case "enmesh":
		return m.enmesh(ctx, h)
	case "patch":
		return patchObject(ctx, m.kube, m.objects, h)
	case "remove":
		return removeNamespace(ctx, m.kube, h.Name)
	case "power", "thaw", "plug", "join", "start", "resume", "mend", "apply":
		client, err := ground.Connect(m.access.Ground)
		if err != nil {
			return false, err
		}
		return onGround(ctx, client, h)
	}
	return false, fmt.Errorf("nobody knows how to %s", h.Do)
}

// onGround asks how things are before it changes them: an order that finds
// nothing to undo may be an error there, as thawing a machine that is off.
func onGround(ctx context.Context, client *ground.Client, h Heal) (changed bool, err error) {
	if h.Do == "apply" {
		return true, client.Apply(ctx, h.Region, h.Files)
	}
	s, err := client.Status(ctx)
	if err != nil {
		return false, err
	}
	is := conditionOf(s, h)
	switch {
	case h.Do == "mend": // in any case: what is only being made unwell is not told yet
		return is.impaired, client.Mend(ctx, h.Region, h.Namespace, h.Name)
	case h.Do == "power" && is.machine == "stopped":
		return true, client.Power(ctx, h.Node, true)
	case h.Do == "thaw" && is.machine == "frozen":
		return true, client.Freeze(ctx, h.Node, false)
	case h.Do == "plug" && is.cut:
		return true, client.Link(ctx, h.Node, true)
	case h.Do == "join" && is.cut:
		return true, client.ZoneLink(ctx, h.Region, h.Zone, true)
	case h.Do == "start" && is.halted:
		return true, client.Halt(ctx, h.Part, false)
	case h.Do == "resume" && is.suspended:
		return true, client.Suspend(ctx, h.Part, false)
	}
	return false, nil
}

// condition is what a step is about, as the ground sees it.
type condition struct {
	machine                          string
	cut, halted, suspended, impaired bool
}

func conditionOf(s ground.Status, h Heal) (is condition) {
	for i, r := range s.Regions {
		for _, n := range r.Nodes {
			if n.Name == h.Node {
				is.machine, is.cut = n.State, n.Cut
			}
		}
		for _, z := range r.CutZones {
			is.cut = is.cut || r.Name == h.Region && z == h.Zone
		}
		for _, p := range r.Impaired {
			is.impaired = is.impaired || r.Name == h.Region && p.Namespace == h.Namespace && p.Pod == h.Name
		}
		for _, st := range s.Stores {
			is.suspended = is.suspended || i == 0 && st.Suspended && r.Name+"/"+st.Name == h.Part
		}
	}
	if g := s.Git; g != nil {
		is.suspended = is.suspended || g.Suspended && g.Part == h.Part
	}
	for _, p := range s.Parts {
		is.halted = is.halted || p.Name == h.Part && p.State == "stopped"
	}
	return is
}

func (m *mender) uncordon(ctx context.Context, h Heal) (changed bool, err error) {
	n, err := m.kube.CoreV1().Nodes().Get(ctx, h.Node, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil, !n.Spec.Unschedulable:
		return false, err
	}
	return true, cordon(ctx, m.kube, h.Node, false)
}

func (m *mender) scale(ctx context.Context, h Heal) (changed bool, err error) {
	now, err := workload.Get(ctx, m.kube, h.Namespace, h.Name)
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil, now.Spec.Replicas != nil && *now.Spec.Replicas == h.Replicas:
		return false, err
	}
	return true, workload.Scale(ctx, m.kube, now, h.Replicas, manager)
}

func (m *mender) autoscale(ctx context.Context, h Heal) (changed bool, err error) {
	now, err := m.kube.AutoscalingV2().HorizontalPodAutoscalers(h.Namespace).Get(ctx, h.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, err
	case now.Spec.MaxReplicas == h.Replicas && now.Spec.MinReplicas != nil && *now.Spec.MinReplicas == h.Least:
		return false, nil
	}
	return true, setBounds(ctx, m.kube, h.Namespace, h.Name, h.Least, h.Replicas)
}

func (h Heal) target() string {
	switch {
	case h.Node != "":
		return h.Node
	case h.Part != "":
		return h.Part
	case h.Zone != 0:
		return fmt.Sprintf("%s-%d", h.Region, h.Zone)
	case h.Name != "":
		return h.Name
	}
	return h.Region
}

// String is the step in words.
func (h Heal) String() string {
	switch h.Do {
	case "power":
		return "give node " + h.Node + " its power back"
	case "thaw":
		return "let node " + h.Node + " go on"
	case "plug":
		return "plug node " + h.Node + " in again"
	case "join":
		return "join zone " + h.target() + " again"
	case "start":
		return "start " + h.Part + " again"
	case "resume":
		return "let " + h.Part + " go on"
	case "mend":
		return fmt.Sprintf("make pod %s/%s well again", h.Namespace, h.Name)
	case "uncordon":
		return "uncordon node " + h.Node
	case "autoscale":
		return fmt.Sprintf("let autoscaler %s/%s want %d to %d replicas again", h.Namespace, h.Name, h.Least, h.Replicas)
	case "failurePolicy":
		return fmt.Sprintf("have webhook %s %s when nobody answers", h.Webhook, map[string]string{"Fail": "refuse", "Ignore": "let through"}[h.Policy])
	case "enmesh":
		return fmt.Sprintf("restart Deployment %s/%s, if a pod of it is outside the mesh", h.Namespace, h.Name)
	case "scale":
		return fmt.Sprintf("scale Deployment %s/%s back to %d replicas", h.Namespace, h.Name, h.Replicas)
	case "patch":
		return fmt.Sprintf("give %s %s/%s its own settings back", h.Kind, h.Namespace, h.Name)
	case "apply":
		return "apply the files of region " + h.Region + " again"
	case "remove":
		return "remove namespace " + h.Name
	}
	return h.Do + " " + h.target()
}
