package cloud

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	volume "sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

func newDisks(t *testing.T) *disks {
	t.Helper()
	nodes := cache.NewIndexer(cache.MetaNamespaceKeyFunc, nil)
	for _, node := range []*corev1.Node{
		{ObjectMeta: metav1.ObjectMeta{Name: "one", Labels: map[string]string{corev1.LabelTopologyZone: "westeurope-1"}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "new"}},
	} {
		if err := nodes.Add(node); err != nil {
			t.Fatal(err)
		}
	}
	return &disks{region: "westeurope", root: t.TempDir(), nodes: corelisters.NewNodeLister(nodes)}
}

func order() volume.ProvisionOptions {
	return volume.ProvisionOptions{
		PVName: "pvc-1", SelectedNodeName: "one", StorageClass: &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "managed-csi"}},
		PVC: &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		}},
	}
}

func TestADiskStaysInItsZone(t *testing.T) {
	d := newDisks(t)
	pv, state, err := d.Provision(t.Context(), order())
	if err != nil || state != volume.ProvisioningFinished {
		t.Fatal(state, err)
	}
	info, err := os.Stat(pv.Spec.Local.Path)
	if err != nil || !info.IsDir() || info.Mode().Perm() != 0o755 {
		t.Fatalf("disk: %v, %v", info, err)
	}
	terms := pv.Spec.NodeAffinity.Required.NodeSelectorTerms
	if len(terms) != 1 || len(terms[0].MatchExpressions) != 1 || terms[0].MatchExpressions[0].Key != corev1.LabelTopologyZone || terms[0].MatchExpressions[0].Values[0] != "westeurope-1" {
		t.Errorf("affinity: %+v", terms)
	}
	file := filepath.Join(pv.Spec.Local.Path, "data")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Provision(t.Context(), order()); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("a second time took the data: %v", err)
	}
	if err := d.Delete(t.Context(), pv); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(pv.Spec.Local.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Delete: %v", err)
	}
	if err := d.Delete(t.Context(), pv); err != nil {
		t.Errorf("Delete twice: %v", err)
	}
}

func TestAZoneRedundantDiskIsForTheRegion(t *testing.T) {
	d := newDisks(t)
	o := order()
	o.StorageClass.Parameters = map[string]string{"skuName": "StandardSSD_ZRS"}
	o.SelectedNodeName = "new"
	pv, _, err := d.Provision(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if e := pv.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0]; e.Key != corev1.LabelTopologyRegion || e.Values[0] != "westeurope" {
		t.Errorf("affinity: %+v", e)
	}
}

func TestWhatADiskCannotDo(t *testing.T) {
	block := corev1.PersistentVolumeBlock
	for name, test := range map[string]struct {
		change func(*volume.ProvisionOptions)
		state  volume.ProvisioningState
		want   string
	}{
		"many writers": {func(o *volume.ProvisionOptions) {
			o.PVC.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
		}, volume.ProvisioningFinished, "use ReadWriteOnce"},
		"raw block":           {func(o *volume.ProvisionOptions) { o.PVC.Spec.VolumeMode = &block }, volume.ProvisioningFinished, "use Filesystem"},
		"clone":               {func(o *volume.ProvisionOptions) { o.PVC.Spec.DataSource = &corev1.TypedLocalObjectReference{} }, volume.ProvisioningFinished, "remove dataSource"},
		"selector":            {func(o *volume.ProvisionOptions) { o.PVC.Spec.Selector = &metav1.LabelSelector{} }, volume.ProvisioningFinished, "remove selector"},
		"binds at once":       {func(o *volume.ProvisionOptions) { o.SelectedNodeName = "" }, volume.ProvisioningFinished, "WaitForFirstConsumer"},
		"unknown node":        {func(o *volume.ProvisionOptions) { o.SelectedNodeName = "two" }, volume.ProvisioningReschedule, "two"},
		"node of no zone":     {func(o *volume.ProvisionOptions) { o.SelectedNodeName = "new" }, volume.ProvisioningReschedule, "in no zone yet"},
		"name with a way out": {func(o *volume.ProvisionOptions) { o.PVName = "../etc" }, volume.ProvisioningFinished, "not a file name"},
	} {
		t.Run(name, func(t *testing.T) {
			o := order()
			test.change(&o)
			_, state, err := newDisks(t).Provision(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), test.want) || state != test.state {
				t.Errorf("%v, %v; want %s", state, err, test.want)
			}
		})
	}
}

func TestDeleteLeavesWhatIsNotOurs(t *testing.T) {
	d := newDisks(t)
	for _, pv := range []*corev1.PersistentVolume{
		{ObjectMeta: metav1.ObjectMeta{Name: "pvc-1"}},
		{ObjectMeta: metav1.ObjectMeta{Name: "pvc-1"}, Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/etc"}}}},
		{ObjectMeta: metav1.ObjectMeta{Name: ".."}},
	} {
		if err := d.Delete(t.Context(), pv); err == nil {
			t.Errorf("%s was deleted", pv.Name)
		}
	}
}
