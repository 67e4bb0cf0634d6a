package manifest

import (
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	for _, test := range []struct{ name, body, want string }{
		{"empty", "", ""},
		{"nothing but comments and separators", "# a\n---\n---\n# b\n", ""},
		{"one", "{apiVersion: v1, kind: Pod, metadata: {name: a}}", "Pod/a"},
		{"JSON", `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}`, "Pod/a"},
		{"several, some empty", "---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\n---\napiVersion: v1\nkind: Service\nmetadata: {name: b}\n", "Pod/a Service/b"},
		{"a list", "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Pod, metadata: {name: a}}, {apiVersion: v1, kind: Pod, metadata: {name: b}}]}", "Pod/a Pod/b"},
	} {
		objects, err := Decode("f.yaml", []byte(test.body))
		var got []string
		for _, o := range objects {
			got = append(got, o.GetKind()+"/"+o.GetName())
		}
		if err != nil || strings.Join(got, " ") != test.want {
			t.Errorf("%s: %q, %v, want %q", test.name, got, err, test.want)
		}
	}
}

func TestDecodeSaysWhere(t *testing.T) {
	const good = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\n"
	for name, body := range map[string]string{
		"no YAML":                   good + "a: [",
		"no kind":                   good + "apiVersion: v1\nmetadata: {name: a}",
		"no apiVersion":             good + "kind: Pod\nmetadata: {name: a}",
		"no name":                   good + "apiVersion: v1\nkind: Pod",
		"no mapping":                good + "- a\n- b\n",
		"metadata is no mapping":    good + "apiVersion: v1\nkind: Pod\nmetadata: a",
		"a list of what is nothing": good + "apiVersion: v1\nkind: List\nitems: [a]",
		"a list of half an object":  good + "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod}]",
	} {
		objects, err := Decode("dir/f.yaml", []byte(body))
		if err == nil || !strings.HasPrefix(err.Error(), "dir/f.yaml: document 2") {
			t.Errorf("%s: %d objects, %v", name, len(objects), err)
		}
	}
}

func object(kind, name string) *Object {
	return &Object{Object: map[string]any{"apiVersion": "v1", "kind": kind, "metadata": map[string]any{"name": name}}}
}

func TestSorted(t *testing.T) {
	given := []*Object{
		object("ValidatingWebhookConfiguration", "last"), object("Deployment", "d1"), object("Widget", "w"), object("Deployment", "d2"),
		object("Service", "s"), object("Secret", "x"), object("ConfigMap", "c"), object("RoleBinding", "rb"), object("Role", "r"),
		object("ServiceAccount", "sa"), object("CustomResourceDefinition", "crd"), object("Namespace", "n"),
	}
	var got []string
	for _, o := range sorted(given) {
		got = append(got, o.GetName())
	}
	if want := "n crd sa r rb c x s d1 w d2 last"; strings.Join(got, " ") != want {
		t.Errorf("order = %s, want %s", strings.Join(got, " "), want)
	}
	if given[0].GetName() != "last" {
		t.Error("the given list was changed")
	}
}

func TestReady(t *testing.T) {
	workload := func(kind string, generation int64, spec, status map[string]any) *Object {
		o := object(kind, "web")
		o.SetNamespace("ns")
		o.SetGeneration(generation)
		o.Object["spec"], o.Object["status"] = spec, status
		return o
	}
	m := func(pairs ...any) map[string]any {
		out := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			out[pairs[i].(string)] = int64(pairs[i+1].(int))
		}
		return out
	}
	for _, test := range []struct {
		name string
		o    *Object
		want string
	}{
		{"all there", workload("Deployment", 2, m("replicas", 3), m("observedGeneration", 2, "readyReplicas", 3, "updatedReplicas", 3)), ""},
		{"none wanted", workload("Deployment", 1, m("replicas", 0), m("observedGeneration", 1)), ""},
		{"some ready", workload("Deployment", 1, m("replicas", 3), m("observedGeneration", 1, "readyReplicas", 2, "updatedReplicas", 3)), "2 of 3"},
		{"some of the old", workload("StatefulSet", 1, m("replicas", 3), m("observedGeneration", 1, "readyReplicas", 3, "updatedReplicas", 1)), "1 of 3"},
		{"not seen yet", workload("Deployment", 2, m("replicas", 1), m("observedGeneration", 1, "readyReplicas", 1, "updatedReplicas", 1)), "Deployment ns/web"},
		{"a daemon everywhere", workload("DaemonSet", 1, m(), m("observedGeneration", 1, "desiredNumberScheduled", 2, "numberReady", 2, "updatedNumberScheduled", 2)), ""},
		{"a rollout", workload("Rollout", 2, m("replicas", 3), map[string]any{"observedGeneration": "2", "phase": "Healthy"}), ""},
		{"a rollout that nobody has seen", workload("Rollout", 2, m("replicas", 3), nil), "not seen it"},
		{"a rollout as it was", workload("Rollout", 2, m("replicas", 3), map[string]any{"observedGeneration": "1", "phase": "Healthy"}), "not seen it"},
		{"a rollout under way", workload("Rollout", 2, m("replicas", 3), map[string]any{"observedGeneration": "2", "phase": "Progressing", "message": "more replicas need to be updated"}), "Rollout ns/web: Progressing: more replicas"},
		{"a rollout that was taken back", workload("Rollout", 2, m("replicas", 3), map[string]any{"observedGeneration": "2", "phase": "Degraded", "readyReplicas": int64(3), "updatedReplicas": int64(3)}), "Degraded"},
		{"a rollout without a phase", workload("Rollout", 2, m("replicas", 3), map[string]any{"observedGeneration": "2"}), "no phase"},
		{"a daemon somewhere", workload("DaemonSet", 1, m(), m("observedGeneration", 1, "desiredNumberScheduled", 2, "numberReady", 1, "updatedNumberScheduled", 2)), "1 of 2"},
	} {
		err := ready(test.o)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

func TestReferenceForgetsTheVersion(t *testing.T) {
	a := reference{"g", "v1", "Kind", "ns", "name"}
	b := a
	b.Version = "v2"
	if !a.same(b) {
		t.Error("a newer version is another object")
	}
	b.Name = "other"
	if a.same(b) {
		t.Error("another name is the same object")
	}
}
