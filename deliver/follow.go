package deliver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// A Region is a cluster to which a release comes, and the Application of Argo CD
// that brings it.
type Region struct {
	Name        string
	Application string
	Objects     dynamic.Interface // of its cluster
}

// A Follower looks at what Argo does with a release, and touches none of it.
type Follower struct {
	Argo    dynamic.Interface // of the cluster that Argo CD is in
	Regions []Region          // in the order in which a release comes to them
	Timeout time.Duration     // of all; it must be longer than a whole canary in every region
}

const (
	argoNamespace = "argocd"
	lookEvery     = 500 * time.Millisecond
	lookWithin    = 2 * time.Second // for one region
	mostListed    = 500             // objects of a kind
)

var (
	applications = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "applications"}
	rollouts     = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "rollouts"}
	analysisRuns = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "analysisruns"}
	deployments  = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	pods         = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	replicaSets  = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}
)

// Follow tells what changes until there is a verdict. It asks again and again
// rather than watch: what it sees is a state, of which nothing is lost when an API
// server is away for a while, and the first look tells as much as any later one.
// tell hears one event at a time and must not wait for long.
func (f *Follower) Follow(ctx context.Context, r Release, tell func(Event)) Verdict {
	ctx, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	c := newCourse(r, time.Now(), f.Regions)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		sights := f.look(ctx, r)
		if ctx.Err() != nil {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return c.unfinished(time.Now(), TimedOut)
			}
			return c.unfinished(time.Now(), Interrupted)
		}
		for i, s := range sights {
			for _, e := range c.look(i, s) {
				tell(e)
			}
		}
		if v, ended := c.verdict(time.Now()); ended {
			return v
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// look is one sight of every region.
func (f *Follower) look(ctx context.Context, r Release) []sight {
	sights := make([]sight, len(f.Regions))
	var all sync.WaitGroup
	for i, region := range f.Regions {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, lookWithin)
			defer cancel()
			sights[i] = f.one(ctx, region, r)
		})
	}
	all.Wait()
	return sights
}

func (f *Follower) one(ctx context.Context, region Region, r Release) (s sight) {
	s.at = time.Now()
	if s.application, s.err = get(ctx, f.Argo.Resource(applications).Namespace(argoNamespace), region.Application); s.err != nil {
		s.err = fmt.Errorf("ask for Application %s: %w", region.Application, s.err)
		return s
	}
	defer func() {
		if s.err != nil {
			s.err = fmt.Errorf("ask for %s %s/%s: %w", r.Kind, r.Namespace, r.Service, s.err)
		}
	}()
	kind := rollouts
	if r.Kind == KindDeployment {
		kind = deployments
	}
	// The ReplicaSets after their Rollout: they know all hashes that it names.
	if s.workload, s.err = get(ctx, region.Objects.Resource(kind).Namespace(r.Namespace), r.Service); s.err != nil || s.workload == nil || r.Kind == KindDeployment {
		return s
	}
	if s.sets, s.err = list(ctx, region.Objects.Resource(replicaSets).Namespace(r.Namespace), ""); s.err != nil {
		return s
	}
	if s.runs, s.err = list(ctx, region.Objects.Resource(analysisRuns).Namespace(r.Namespace), ""); s.err != nil {
		return s
	}
	hash, _, _ := unstructured.NestedString(s.workload.Object, "status", "currentPodHash")
	stable, _, _ := unstructured.NestedString(s.workload.Object, "status", "stableRS")
	if hash != "" && hash != stable {
		s.pods, s.err = list(ctx, region.Objects.Resource(pods).Namespace(r.Namespace), hashLabel+"="+hash)
	}
	return s
}

// get answers nil for what is not there, also where its kind is not known yet.
func get(ctx context.Context, from dynamic.ResourceInterface, name string) (*unstructured.Unstructured, error) {
	o, err := from.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return o, err
}

func list(ctx context.Context, from dynamic.ResourceInterface, labels string) ([]unstructured.Unstructured, error) {
	all, err := from.List(ctx, metav1.ListOptions{LabelSelector: labels, Limit: mostListed})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return all.Items, nil
}

// Refresh asks Argo CD to look at Git now, and not when it would by itself.
func (f *Follower) Refresh(ctx context.Context) error {
	patch := []byte(`{"metadata":{"annotations":{"argocd.argoproj.io/refresh":"normal"}}}`)
	for _, region := range f.Regions {
		within, cancel := context.WithTimeout(ctx, lookWithin)
		_, err := f.Argo.Resource(applications).Namespace(argoNamespace).Patch(within, region.Application, types.MergePatchType, patch, metav1.PatchOptions{})
		cancel()
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("ask Argo CD to look at Git: %w", err)
		}
	}
	return nil
}

// A State is what a region runs of a service now.
type State struct {
	Rollout
	Region string
	Absent bool
	Canary bool // another version than the stable one is on its way
}

// Now is what each region runs. It waits for controllers that have not looked yet,
// for a few seconds.
func (f *Follower) Now(ctx context.Context, r Release) ([]State, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	for {
		states, settled, err := f.now(ctx, r)
		if err == nil && settled {
			return states, nil
		}
		if pause(ctx, lookEvery) != nil {
			return states, err
		}
	}
}

func (f *Follower) now(ctx context.Context, r Release) (states []State, settled bool, err error) {
	settled = true
	for i, s := range f.look(ctx, r) {
		state := State{Region: f.Regions[i].Name, Absent: s.workload == nil}
		if s.err != nil {
			return nil, false, fmt.Errorf("region %s: %w", state.Region, s.err)
		}
		if s.workload != nil {
			w, err := workloadOf(*s.workload, s.sets)
			if err != nil {
				return nil, false, err
			}
			state.Rollout = w.Rollout
			state.Canary = r.Kind == KindRollout && !w.Aborted && (!w.stable || !w.known)
			settled = settled && w.known
		}
		states = append(states, state)
	}
	return states, settled, nil
}

// In follows in these regions alone.
func (f *Follower) In(names ...string) *Follower {
	some := *f
	some.Regions = nil
	for _, region := range f.Regions {
		if slices.Contains(names, region.Name) {
			some.Regions = append(some.Regions, region)
		}
	}
	return &some
}
