package world

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/nines-ha/nines/ground/argo"
	"github.com/nines-ha/nines/ground/manifest"
	"github.com/nines-ha/nines/ground/part"
	"github.com/nines-ha/nines/internal/pki"
)

// Delivered is what the owner has put into the Git host's repository, as far as the
// world has to know of it.
type Delivered struct {
	// Root are the objects by which Argo CD begins to look at the repository.
	Root []File
	// Applications are the names of all that Argo CD then has.
	Applications []string
}

// delivery is a region's part in it. But for the definitions it is the first one's.
type delivery struct {
	definitions, argo, root *manifest.Set

	argoObjects  []*manifest.Object
	applications []string // that Argo CD is to have
	live         dynamic.ResourceInterface
}

// deliverer is whom Argo CD is to the clusters that it is not in.
const deliverer = "nines:argo-cd"

// delivers says whether this is the cluster that Argo CD runs in.
func (r *region) delivers() bool { return r.world.spec.Delivery && r == r.world.regions[0] }

func (r *region) prepareDelivery(root *rest.Config) (err error) {
	if !r.world.spec.Delivery {
		return nil
	}
	d := &r.delivery
	if d.definitions, err = manifest.NewSet("definitions", root); err != nil || !r.delivers() {
		return err
	}
	if d.argo, err = manifest.NewSet("argo-cd", root); err != nil {
		return err
	}
	if d.root, err = manifest.NewSet("root", root); err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(root)
	if err != nil {
		return err
	}
	d.live = client.Resource(applications).Namespace(argo.Namespace)
	return nil
}

// deliveryParts are Argo CD and what it has to bring about before anything is ready.
func (r *region) deliveryParts() []part.Part {
	needs := []string{r.part("platform"), r.world.git.part, "engine/argo-cd"}
	for _, other := range r.world.regions {
		needs = append(needs, other.part("access"))
	}
	return []part.Part{
		{
			Name: r.part("argo-cd"), Needs: needs, About: "Argo CD, from its own manifests",
			Prepare: r.applyArgo, Ready: func(ctx context.Context) error { return r.delivery.argo.Ready(ctx, r.delivery.argoObjects) }, Within: 3 * time.Minute,
		},
		{
			Name: r.part("delivery"), Needs: append(r.world.deliverable(), r.part("argo-cd")), About: "what Argo CD makes of the repository",
			Prepare: r.applyRoot, Ready: r.deliveredAll, Within: 3 * time.Hour, // the owner may still be compiling the services
		},
	}
}

// definitionParts are the kinds of Argo Rollouts, ahead of Argo CD, which would wait
// too short a time for them.
func (r *region) definitionParts() []part.Part {
	if !r.world.spec.Delivery {
		return nil
	}
	return []part.Part{{
		Name: r.part("definitions"), Needs: []string{r.part("access"), "engine/argo-rollouts"}, About: "the kinds of Argo Rollouts",
		Prepare: func(ctx context.Context) error {
			body, err := argo.Definitions(r.world.engines.File)
			if err != nil {
				return err
			}
			objects, err := manifest.Decode("argo-rollouts", body)
			if err != nil {
				return err
			}
			return r.delivery.definitions.Apply(ctx, objects)
		},
	}}
}

// deliverable are the parts without which nothing that Argo CD brings could run.
func (w *World) deliverable() (names []string) {
	for _, r := range w.regions {
		names = append(names, r.part("apps"), r.part("definitions"))
	}
	return names
}

// deliveryPart is the name of what services wait for, if Argo CD brings them.
func (w *World) deliveryPart() []string {
	if !w.spec.Delivery {
		return nil
	}
	return []string{w.regions[0].part("delivery")}
}

func (r *region) applyArgo(ctx context.Context) error {
	reader := r.world.git.Reader()
	config := argo.Config{
		File:       r.world.engines.File,
		Repository: argo.Repository{URL: reader.URL, Username: reader.Username, Password: reader.Password, CA: reader.CA},
	}
	for _, other := range r.world.regions {
		cluster := argo.Cluster{Region: other.spec.Name}
		if other != r {
			pair, err := other.cluster.CA().Issue(pki.Subject{Name: deliverer})
			if err != nil {
				return err
			}
			cluster.Server, cluster.CA, cluster.Client = other.cluster.APIServer(), other.cluster.CA().PEM, pair
		}
		config.Clusters = append(config.Clusters, cluster)
	}
	body, err := argo.Manifests(config)
	if err != nil {
		return err
	}
	if r.delivery.argoObjects, err = manifest.Decode("argo-cd", body); err != nil {
		return err
	}
	return r.delivery.argo.Apply(ctx, r.delivery.argoObjects)
}

// letDeliver gives Argo CD of another region what it has in its own by upstream's
// manifests. What of that it makes use of, the repository's AppProjects say.
func (r *region) letDeliver(ctx context.Context) error {
	if !r.world.spec.Delivery || r.delivers() {
		return nil
	}
	_, err := r.client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: deliverer},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: deliverer}},
	}, metav1.CreateOptions{FieldManager: manifest.Manager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("let Argo CD in: %w", err)
	}
	return nil
}

func (r *region) applyRoot(ctx context.Context) error {
	select {
	case d := <-r.world.delivered:
		r.delivery.applications = d.Applications
		var objects []*manifest.Object
		for _, f := range d.Root {
			list, err := manifest.Decode(f.Path, f.Body)
			if err != nil {
				return err
			}
			objects = append(objects, list...)
		}
		return r.delivery.root.Apply(ctx, objects)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var applications = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "applications"}

// deliveredAll says nil when each Application is what Git says, and healthy.
func (r *region) deliveredAll(ctx context.Context) error {
	list, err := r.delivery.live.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, a := range list.Items {
		there[a.GetName()] = true
		if err := delivered(&a); err != nil {
			return err
		}
	}
	missing := slices.DeleteFunc(slices.Clone(r.delivery.applications), func(name string) bool { return there[name] })
	if len(missing) > 0 {
		return fmt.Errorf("no Application %s in Argo CD yet", strings.Join(missing, ", "))
	}
	return nil
}

func delivered(a *manifest.Object) error {
	text := func(path ...string) string {
		s, _, _ := unstructured.NestedString(a.Object, path...)
		return s
	}
	var complaints []string
	conditions, _, _ := unstructured.NestedSlice(a.Object, "status", "conditions")
	for _, c := range conditions {
		if c, ok := c.(map[string]any); ok {
			if message, _, _ := unstructured.NestedString(c, "message"); message != "" {
				complaints = append(complaints, message)
			}
		}
	}
	if message := text("status", "operationState", "message"); message != "" && text("status", "operationState", "phase") != "Succeeded" {
		complaints = append(complaints, message)
	}
	sync, health := text("status", "sync", "status"), text("status", "health", "status")
	if sync == "Synced" && health == "Healthy" {
		return nil
	}
	because := ""
	if len(complaints) > 0 {
		because = ": " + strings.Join(complaints, "; ")
	}
	return fmt.Errorf("the Application %s is %s and %s%s", a.GetName(), word(sync), word(health), because)
}

// word is for a state that nobody has told yet.
func word(state string) string {
	if state == "" {
		return "Unknown"
	}
	return state
}
