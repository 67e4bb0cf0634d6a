package manifest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

type runtimeObject = runtime.Object

// Manager is the field manager that owns what is applied.
const Manager = "nines"

const inventoryNamespace = "kube-system"

// Set is a named group of objects in one cluster. What belongs to it is
// remembered in the ConfigMap kube-system/nines-set-NAME.
type Set struct {
	Name   string
	client *dynamic.DynamicClient
	typed  *kubernetes.Clientset
	mapper *restmapper.DeferredDiscoveryRESTMapper
}

// NewSet connects to a cluster; it sends nothing yet.
func NewSet(name string, config *rest.Config) (*Set, error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	disco, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	return &Set{Name: name, client: client, typed: typed, mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(disco))}, nil
}

type reference struct {
	Group, Version, Kind, Namespace, Name string
}

func refer(o *Object) reference {
	gvk := o.GroupVersionKind()
	return reference{gvk.Group, gvk.Version, gvk.Kind, o.GetNamespace(), o.GetName()}
}

func (r reference) String() string {
	return strings.TrimPrefix(fmt.Sprintf("%s %s/%s", r.Kind, r.Namespace, r.Name), "/")
}

// same compares without the version: an object that moved to a newer version of
// its kind is the same object.
func (r reference) same(o reference) bool {
	r.Version, o.Version = "", ""
	return r == o
}

// Apply makes the cluster hold exactly these objects of the set. The inventory is
// widened before anything is applied and narrowed after the prune, so that an
// interrupted Apply leaves nothing that the next one would not find.
func (s *Set) Apply(ctx context.Context, objects []*Object) error {
	before, err := s.inventory(ctx)
	if err != nil {
		return err
	}
	var now []reference
	objects = sorted(objects)
	for _, o := range objects {
		now = append(now, refer(o))
	}
	union := slices.Clone(now)
	var gone []reference
	for _, old := range before {
		if !slices.ContainsFunc(now, old.same) {
			union, gone = append(union, old), append(gone, old)
		}
	}
	if err := s.remember(ctx, union); err != nil {
		return err
	}
	for _, o := range objects {
		if err := retry(ctx, func() error { return s.apply(ctx, o) }); err != nil {
			return fmt.Errorf("apply %s: %w", refer(o), err)
		}
	}
	for i := len(gone) - 1; i >= 0; i-- {
		if err := s.remove(ctx, gone[i]); err != nil {
			return fmt.Errorf("prune %s: %w", gone[i], err)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return s.remember(ctx, now)
}

func (s *Set) resource(r reference) (dynamic.ResourceInterface, error) {
	kind := schema.GroupKind{Group: r.Group, Kind: r.Kind}
	mapping, err := s.mapper.RESTMapping(kind, r.Version)
	if meta.IsNoMatchError(err) {
		s.mapper.Reset() // a CustomResourceDefinition may just have been applied
		mapping, err = s.mapper.RESTMapping(kind, r.Version)
	}
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return s.client.Resource(mapping.Resource), nil
	}
	if r.Namespace == "" {
		return nil, errors.New("it has no metadata.namespace")
	}
	return s.client.Resource(mapping.Resource).Namespace(r.Namespace), nil
}

func (s *Set) apply(ctx context.Context, o *Object) error {
	resource, err := s.resource(refer(o))
	if err != nil {
		return err
	}
	_, err = resource.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: Manager, Force: true})
	return err
}

func transient(err error) bool {
	return meta.IsNoMatchError(err) || apierrors.IsNotFound(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err) ||
		apierrors.IsServerTimeout(err) || apierrors.IsTooManyRequests(err) || apierrors.IsConflict(err)
}

func (s *Set) remove(ctx context.Context, r reference) error {
	resource, err := s.resource(r)
	if meta.IsNoMatchError(err) {
		return nil
	}
	if err != nil {
		return err
	}
	policy := metav1.DeletePropagationBackground
	err = resource.Delete(ctx, r.Name, metav1.DeleteOptions{PropagationPolicy: &policy})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (s *Set) configMap() string { return "nines-set-" + s.Name }

func (s *Set) inventory(ctx context.Context) ([]reference, error) {
	cm, err := s.typed.CoreV1().ConfigMaps(inventoryNamespace).Get(ctx, s.configMap(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read inventory of %s: %w", s.Name, err)
	}
	var list []reference
	if err := json.Unmarshal([]byte(cm.Data["objects"]), &list); err != nil {
		return nil, fmt.Errorf("inventory %s/%s is damaged: %w; delete it and apply again", inventoryNamespace, s.configMap(), err)
	}
	return list, nil
}

func (s *Set) remember(ctx context.Context, list []reference) error {
	body, err := json.Marshal(list)
	if err != nil {
		return err
	}
	cm := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: s.configMap(), Namespace: inventoryNamespace},
		Data:       map[string]string{"objects": string(body)},
	}
	maps := s.typed.CoreV1().ConfigMaps(inventoryNamespace)
	err = retry(ctx, func() error {
		_, err := maps.Update(ctx, cm, metav1.UpdateOptions{FieldManager: Manager})
		if apierrors.IsNotFound(err) {
			_, err = maps.Create(ctx, cm, metav1.CreateOptions{FieldManager: Manager})
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("write inventory of %s: %w", s.Name, err)
	}
	return nil
}

// retry goes on while the cluster has not yet taken in what came before: a kind
// just defined, a namespace just made, the API server just started.
func retry(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		err := f()
		if err == nil || !transient(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}
