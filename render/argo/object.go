package argo

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/nines-ha/nines/render"
)

// An object is one of a file, whatever its kind.
type object map[string]any

func (o object) text(fields ...string) string {
	text, _ := o.at(fields...).(string)
	return text
}

// at is what is below these fields, nil if there is nothing.
func (o object) at(fields ...string) any {
	var value any = map[string]any(o)
	for _, field := range fields {
		inner, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = inner[field]
	}
	return value
}

func (o object) kind() string { return o.text("kind") }
func (o object) name() string { return o.text("metadata", "name") }

func (o object) groupKind() groupKind {
	group, _, found := strings.Cut(o.text("apiVersion"), "/")
	if !found {
		group = "" // the core group
	}
	return groupKind{group, o.kind()}
}

// id tells it from all others of its cluster.
func (o object) id(namespace string) string {
	if own := o.text("metadata", "namespace"); own != "" {
		namespace = own
	}
	return fmt.Sprintf("%s %s/%s", strings.TrimPrefix(o.groupKind().Group+"/"+o.kind(), "/"), namespace, o.name())
}

func parse(body []byte) ([]object, error) {
	var objects []object
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(body)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		var o object
		// A number stays as it is written: a float would round the large ones.
		if err := yaml.Unmarshal(document, &o, func(d *json.Decoder) *json.Decoder { d.UseNumber(); return d }); err != nil {
			return nil, err
		}
		if len(o) > 0 {
			objects = append(objects, o)
		}
	}
}

// annotate writes a file as Argo CD is to have it: each of its objects with its
// wave and with what must not be done to it.
func (t *tree) annotate(f render.File) ([]byte, []object, error) {
	objects, err := t.parse(f.Body)
	if err != nil {
		return nil, nil, err
	}
	var body bytes.Buffer
	body.WriteString(render.Header)
	for i, o := range objects {
		if i > 0 {
			body.WriteString("---\n")
		}
		text, err := yaml.Marshal(o)
		if err != nil {
			return nil, nil, err
		}
		body.Write(text)
	}
	return body.Bytes(), objects, nil
}

func (t *tree) parse(body []byte) ([]object, error) {
	if known, ok := t.parsed[string(body)]; ok {
		return known, nil
	}
	objects, err := parse(body)
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		if err := o.complete(); err != nil {
			return nil, err
		}
		if err := o.annotate(); err != nil {
			return nil, err
		}
	}
	t.parsed[string(body)] = objects
	return objects, nil
}

// complete refuses what cannot be synced, or must not be in Git.
func (o object) complete() error {
	switch {
	case o.kind() == "" || o.text("apiVersion") == "" || o.name() == "":
		return errors.New("an object has no apiVersion, kind or metadata.name; is it a Kubernetes object?")
	case strings.HasSuffix(o.kind(), "List") && o.at("items") != nil:
		return fmt.Errorf("it holds a %s; write its items one by one", o.kind())
	case o.kind() == "Secret" && (o.filled("data") || o.filled("stringData")):
		return fmt.Errorf("the Secret %s has data, and all that is in Git is in every clone and in Argo CD's cache, readable; keep it in a vault and name it only", o.name())
	}
	return nil
}

func (o object) filled(field string) bool {
	values, ok := o.at(field).(map[string]any)
	return o.at(field) != nil && (!ok || len(values) > 0)
}

// annotate keeps what an object says itself.
func (o object) annotate() error {
	meta, ok := o.at("metadata").(map[string]any)
	if !ok {
		return errors.New("metadata is no mapping")
	}
	annotations, _ := meta["annotations"].(map[string]any)
	if annotations == nil {
		annotations = map[string]any{}
	}
	for option := range strings.SplitSeq(o.text("metadata", "annotations", optionsAnnotation), ",") {
		if option = strings.TrimSpace(option); option == "Replace=true" || option == "Force=true" {
			return fmt.Errorf("%s %s is to be synced with %s, which deletes it before it is made anew; take that away", o.kind(), o.name(), option)
		}
	}
	if _, own := annotations[waveAnnotation]; !own && annotations[hookAnnotation] == nil && wave(o.kind()) != 0 {
		annotations[waveAnnotation] = strconv.Itoa(wave(o.kind()))
	}
	if _, own := annotations[optionsAnnotation]; !own && slices.Contains(guarded, o.kind()) {
		annotations[optionsAnnotation] = "Prune=confirm,Delete=confirm"
	}
	if len(annotations) > 0 {
		meta["annotations"] = annotations
	}
	return nil
}

// guarded are the kinds whose last deletion is an outage, a loss of data or an
// open door. Argo CD deletes one that is no longer in Git only once a person has
// said so; until then the sync waits, after all else has been applied, and says
// for what.
var guarded = []string{
	"Namespace", "CustomResourceDefinition", "StorageClass", "PersistentVolume", "PersistentVolumeClaim",
	"Service", "ServiceAccount", "Deployment", "StatefulSet", "DaemonSet", "Rollout", "PodDisruptionBudget",
	"Gateway", "PeerAuthentication", "AuthorizationPolicy",
}

// wave puts before each other what needs each other: a kind before its objects, a
// namespace before what is in it, a webhook before the pods that it changes, a
// destination before the routes to it. Whatever waits for pods to be well is in
// the last wave, so that a sync is done when it has been applied: a canary then
// does not keep the next commit, which may be its cure, from being synced.
func wave(kind string) int {
	switch kind {
	case "CustomResourceDefinition":
		return -2
	case "Namespace":
		return -1
	case "DestinationRule", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
		return 1
	case "VirtualService":
		return 2
	case "Deployment", "StatefulSet", "DaemonSet", "Rollout", "HorizontalPodAutoscaler", "APIService", "PersistentVolumeClaim":
		return 3
	}
	return 0
}

// wide are the kinds that belong to a cluster, not to a namespace, besides those
// of CustomResourceDefinitions.
var wide = []string{
	"Namespace", "Node", "PersistentVolume", "CustomResourceDefinition", "APIService", "ClusterRole", "ClusterRoleBinding",
	"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding",
	"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "StorageClass", "VolumeAttributesClass", "CSIDriver", "CSINode",
	"PriorityClass", "RuntimeClass", "IngressClass", "FlowSchema", "PriorityLevelConfiguration", "CertificateSigningRequest", "ClusterTrustBundle",
}

// scopes tells of each custom kind whether it belongs to a cluster.
func scopes(apps []app) map[groupKind]bool {
	custom := map[groupKind]bool{}
	for _, a := range apps {
		for _, o := range a.objects {
			if o.kind() == "CustomResourceDefinition" {
				custom[groupKind{o.text("spec", "group"), o.text("spec", "names", "kind")}] = o.text("spec", "scope") == "Cluster"
			}
		}
	}
	return custom
}
