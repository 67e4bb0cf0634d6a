package fault

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/nines-ha/nines/ground/mesh"
)

var destinationRules = schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "destinationrules"}

// shorten finds the patches that make certificates and connections short-lived,
// and those that undo them.
func (r *rotation) shorten(ctx context.Context) error {
	s := r.site
	all, err := s.Kube.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	for _, p := range all.Items {
		if p.Namespace != s.Namespace && p.Namespace != mesh.IngressNamespace && hasSidecar(&p) {
			return &ImpossibleError{fmt.Sprintf("certificate-rotation takes the root of the mesh away, and pod %s/%s, which is none of %s, is in the mesh too", p.Namespace, p.Name, s.Namespace)}
		}
	}
	rule, err := s.Objects.Resource(destinationRules).Namespace(s.Namespace).Get(ctx, s.Service, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return &ImpossibleError{fmt.Sprintf("namespace %s has no DestinationRule %s, which says how long connections last", s.Namespace, s.Service)}
	}
	if err != nil {
		return fmt.Errorf("look at DestinationRule %s: %w", s.Service, err)
	}
	list, err := s.Kube.AppsV1().Deployments(s.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list Deployments of %s: %w", s.Namespace, err)
	}
	gateways, err := s.Kube.AppsV1().Deployments(mesh.IngressNamespace).List(ctx, metav1.ListOptions{LabelSelector: gatewayLabel})
	if err != nil {
		return fmt.Errorf("list Deployments of %s: %w", mesh.IngressNamespace, err)
	}
	if len(gateways.Items) == 0 {
		return fmt.Errorf("namespace %s has no Deployment of the gateway", mesh.IngressNamespace)
	}
	add := func(kind, namespace, name, do, back string) {
		r.brief = append(r.brief, Heal{Do: "patch", Kind: kind, Namespace: namespace, Name: name, Patch: do})
		r.lasting = append(r.lasting, Heal{Do: "patch", Kind: kind, Namespace: namespace, Name: name, Patch: back})
	}
	do, back := briefConnections(rule.Object)
	add("DestinationRule", s.Namespace, s.Service, do, back)
	for _, d := range list.Items {
		do, back, err := briefCertificates(&d)
		if err != nil {
			return fmt.Errorf("annotation %s of Deployment %s: %w", proxyConfig, d.Name, err)
		}
		add("Deployment", d.Namespace, d.Name, do, back)
	}
	for _, d := range gateways.Items {
		do, back := briefGateway()
		add("Deployment", d.Namespace, d.Name, do, back)
	}
	return nil
}

// briefConnections keeps what the rule says of a connection's duration, if anything.
func briefConnections(rule map[string]any) (do, back string) {
	own, _, _ := unstructured.NestedFieldNoCopy(rule, "spec", "trafficPolicy", "connectionPool", "tcp", "maxConnectionDuration")
	patch := func(value any) string {
		return mustJSON(map[string]any{"spec": map[string]any{"trafficPolicy": map[string]any{"connectionPool": map[string]any{"tcp": map[string]any{"maxConnectionDuration": value}}}}})
	}
	return patch(connectionLife.String()), patch(own)
}

// proxyConfig is the annotation from which the injector takes a sidecar's environment.
const proxyConfig = "proxy.istio.io/config"

// agentSettings are those of Istio's agent beside each Envoy.
func agentSettings() map[string]string {
	return map[string]string{"SECRET_TTL": certificateLife.String(), "SECRET_GRACE_PERIOD_RATIO": fmt.Sprint(certificateGrace)}
}

func briefCertificates(d *appsv1.Deployment) (do, back string, err error) {
	own, there := d.Spec.Template.Annotations[proxyConfig]
	config := map[string]any{}
	if err := yaml.Unmarshal([]byte(own), &config); err != nil {
		return "", "", err
	}
	environment, _ := config["proxyMetadata"].(map[string]any)
	environment = maps.Clone(environment)
	if environment == nil {
		environment = map[string]any{}
	}
	for name, value := range agentSettings() {
		environment[name] = value
	}
	config["proxyMetadata"] = environment
	patch := func(value any) string {
		return mustJSON(map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{"annotations": map[string]any{proxyConfig: value}}}}})
	}
	if !there {
		return patch(mustJSON(config)), patch(nil), nil
	}
	return patch(mustJSON(config)), patch(own), nil
}

// briefGateway sets the environment itself: a gateway of Istio's chart is not
// injected.
func briefGateway() (do, back string) {
	patch := func(f func(name, value string) map[string]any) string {
		var environment []any
		for _, name := range slices.Sorted(maps.Keys(agentSettings())) {
			environment = append(environment, f(name, agentSettings()[name]))
		}
		return mustJSON(map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": sidecar, "env": environment}}}}}})
	}
	return patch(func(name, value string) map[string]any { return map[string]any{"name": name, "value": value} }),
		patch(func(name, _ string) map[string]any { return map[string]any{"name": name, "$patch": "delete"} })
}

// mustJSON is of plain values, which cannot fail.
func mustJSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// patched names what patches change.
func patched(list []Heal) string {
	var names []string
	for _, h := range list {
		names = append(names, h.Kind+" "+h.Name)
	}
	return strings.Join(names, ", ")
}

// patchObject makes a patch, or undoes one, and says whether that changed anything.
// What is gone needs nothing.
func patchObject(ctx context.Context, kube kubernetes.Interface, objects dynamic.Interface, h Heal) (changed bool, err error) {
	var before, after metav1.Object
	options := metav1.PatchOptions{FieldManager: manager}
	switch h.Kind {
	case "Deployment":
		list := kube.AppsV1().Deployments(h.Namespace)
		before, err = list.Get(ctx, h.Name, metav1.GetOptions{})
		if err == nil {
			after, err = list.Patch(ctx, h.Name, types.StrategicMergePatchType, []byte(h.Patch), options)
		}
	case "DestinationRule":
		list := objects.Resource(destinationRules).Namespace(h.Namespace)
		before, err = list.Get(ctx, h.Name, metav1.GetOptions{})
		if err == nil {
			after, err = list.Patch(ctx, h.Name, types.MergePatchType, []byte(h.Patch), options)
		}
	default:
		return false, fmt.Errorf("nobody knows how to patch a %s", h.Kind)
	}
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("patch %s %s: %w", h.Kind, h.Name, err)
	}
	return before.GetGeneration() != after.GetGeneration(), nil
}
