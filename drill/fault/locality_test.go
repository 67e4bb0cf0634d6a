package fault

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// replacing makes another pod for each that is deleted, in the zone with fewest of
// those whose nodes take pods; or, if it must stand in the zone with fewest of all,
// one without a node, which gets it when that zone's takes pods again.
func replacing(t *testing.T, kube *fake.Clientset, wait bool) {
	made := 0
	emptiest := func() (string, bool) {
		nodes, err := kube.Tracker().List(corev1.SchemeGroupVersion.WithResource("nodes"), corev1.SchemeGroupVersion.WithKind("Node"), "")
		if err != nil {
			t.Fatal(err)
		}
		pods, err := kube.Tracker().List(corev1.SchemeGroupVersion.WithResource("pods"), corev1.SchemeGroupVersion.WithKind("Pod"), "fleet")
		if err != nil {
			t.Fatal(err)
		}
		best, least, open := "", 1000, false
		for _, n := range nodes.(*corev1.NodeList).Items {
			if n.Spec.Unschedulable && !wait {
				continue
			}
			on := 0
			for _, p := range pods.(*corev1.PodList).Items {
				if p.Spec.NodeName == n.Name {
					on++
				}
			}
			if on < least {
				best, least, open = n.Name, on, !n.Spec.Unschedulable
			}
		}
		return best, open
	}
	kube.PrependReactor("delete", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		d := a.(clienttesting.DeleteActionImpl)
		if d.DeleteOptions.GracePeriodSeconds != nil || string(*d.DeleteOptions.Preconditions.UID) != "uid of "+d.Name {
			t.Errorf("%s deleted with %+v", d.Name, d.DeleteOptions)
		}
		if err := kube.Tracker().Delete(a.GetResource(), d.Namespace, d.Name); err != nil {
			return true, nil, err
		}
		made++
		p := pod(fmt.Sprintf("web-new-%d", made), "", "ReplicaSet")
		if node, open := emptiest(); open {
			p.Spec.NodeName = node
		} else {
			p.Status.Conditions = nil
		}
		return true, nil, kube.Tracker().Add(p)
	})
	kube.PrependReactor("patch", "nodes", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if !strings.Contains(string(a.(clienttesting.PatchAction).GetPatch()), "false") {
			return false, nil, nil
		}
		pods, err := kube.Tracker().List(corev1.SchemeGroupVersion.WithResource("pods"), corev1.SchemeGroupVersion.WithKind("Pod"), "fleet")
		if err != nil {
			return true, nil, err
		}
		for _, p := range pods.(*corev1.PodList).Items {
			if p.Spec.NodeName == "" {
				now := pod(p.Name, a.(clienttesting.PatchAction).GetName(), "ReplicaSet")
				if err := kube.Tracker().Update(corev1.SchemeGroupVersion.WithResource("pods"), now, "fleet"); err != nil {
					return true, nil, err
				}
			}
		}
		return false, nil, nil
	})
}

func nodesOf(t *testing.T, kube *fake.Clientset) (nodes []string) {
	t.Helper()
	list, err := kube.CoreV1().Pods("fleet").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list.Items {
		nodes = append(nodes, p.Spec.NodeName)
	}
	return slices.Sorted(slices.Values(nodes))
}

// A zone has no replica and takes none for a while; then it has one again, whether
// its replacement had moved elsewhere or waited.
func TestLocality(t *testing.T) {
	for name, wait := range map[string]bool{"replacements go elsewhere": false, "replacements wait": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, kube := site(1, objects(3)...)
				replacing(t, kube, wait)
				s.Mesh = true
				i := prepare(t, "locality", s)
				if len(i.Heals) != 1 || i.Heals[0].Do != "uncordon" || len(i.Touches) != 2 || !strings.Contains(i.Touches[0], "1 of the 3 ready pods") {
					t.Fatalf("touches %q, heals %v", i.Touches, i.Heals)
				}
				victim := i.Heals[0].Node
				cordoned := func() bool {
					n, err := kube.CoreV1().Nodes().Get(t.Context(), victim, metav1.GetOptions{})
					if err != nil {
						t.Fatal(err)
					}
					return n.Spec.Unschedulable
				}
				var l told
				injected, began := make(chan error, 1), time.Now()
				go func() { injected <- i.Inject(t.Context(), l.tell) }()
				time.Sleep(zoneEmpty - time.Second)
				if !cordoned() || slices.Contains(nodesOf(t, kube), victim) {
					t.Errorf("cordoned %t, pods on %q", cordoned(), nodesOf(t, kube))
				}
				if err := <-injected; err != nil {
					t.Fatal(err)
				}
				if cordoned() || !slices.Equal(nodesOf(t, kube), []string{"n1", "n2", "n3"}) || time.Since(began) < zoneEmpty {
					t.Errorf("cordoned %t, pods on %q after %s", cordoned(), nodesOf(t, kube), time.Since(began))
				}
				z := "z" + victim[1:]
				if got := l.read(); got != z+" done\n"+z+" undone" {
					t.Errorf("told %q", got)
				}
			})
		})
	}
}

// What was elsewhere before stays there, and so does what an autoscaler has added.
func TestLocalitySendsBackNoMoreThanItTook(t *testing.T) {
	s, kube := site(1, append(objects(2), pod("added-1", "n2", "ReplicaSet"), pod("added-2", "n2", "ReplicaSet"))...)
	sc := s.sceneOf(t)
	old := map[types.UID]bool{"uid of web-1": true, "uid of web-2": true}
	if err := sc.sendBack(t.Context(), zone{name: "z1", nodes: []string{"n1"}}, old, 1); err != nil {
		t.Fatal(err)
	}
	if left := names(t, kube, "fleet"); left != "added-2 web-1 web-2" {
		t.Errorf("left %q", left)
	}
}

func TestLocalityNeedsTwoZones(t *testing.T) {
	together := append(objects(2), pod("web-3", "n2", "ReplicaSet"))
	together[2].(*corev1.Pod).Status.Conditions = nil // web-1
	s, _ := site(1, together...)
	if _, err := locality(t.Context(), s.sceneOf(t)); err == nil || !strings.Contains(err.Error(), "must have ready pods in two zones") {
		t.Errorf("error = %v", err)
	}
	s.Mesh = false
	f, _ := Find("locality")
	if err := f.Available(s); err == nil || !strings.Contains(err.Error(), "needs a mesh") {
		t.Errorf("error = %v", err)
	}
}
