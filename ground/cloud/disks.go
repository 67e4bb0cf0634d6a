package cloud

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	volume "sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

const (
	// DiskProvisioner is the name of Azure's own driver, so that the storage
	// classes of AKS and of charts made for it work unchanged.
	DiskProvisioner = "disk.csi.azure.com"

	diskWorkers = 2
	diskMode    = 0o755 // of a new file system; the kubelet opens it to the pod's fsGroup
)

// disks makes volumes: one directory each.
type disks struct {
	region string
	root   string
	nodes  corelisters.NodeLister
}

func newDiskController(ctx context.Context, cfg Config, client kubernetes.Interface, shared informers.SharedInformerFactory, running *sync.WaitGroup) *volume.ProvisionController {
	d := &disks{region: cfg.Region, root: cfg.Volumes, nodes: shared.Core().V1().Nodes().Lister()}
	controller := volume.NewProvisionController(ctx, client, DiskProvisioner, d,
		volume.LeaderElection(false),
		volume.MetricsPort(0),
		volume.Threadiness(diskWorkers),
		volume.AddFinalizer(true),
		volume.FailedProvisionThreshold(0), // try for ever, as a cloud does
		volume.FailedDeleteThreshold(0),
		volume.ClaimsInformer(shared.Core().V1().PersistentVolumeClaims().Informer()),
		volume.VolumesInformer(shared.Core().V1().PersistentVolumes().Informer()),
		volume.ClassesInformer(shared.Storage().V1().StorageClasses().Informer()),
	)
	controller.ControllerWaitGroup(running)
	return controller
}

// Provision makes the directory where the scheduler wants the disk: in the zone
// of the node that it chose, or in any when the class binds at once.
func (d *disks) Provision(_ context.Context, options volume.ProvisionOptions) (*corev1.PersistentVolume, volume.ProvisioningState, error) {
	claim := options.PVC
	if err := supported(claim); err != nil {
		return nil, volume.ProvisioningFinished, err
	}
	term, state, err := d.place(options)
	if err != nil {
		return nil, state, err
	}
	path, err := d.path(options.PVName)
	if err != nil {
		return nil, volume.ProvisioningFinished, err
	}
	if err := os.Mkdir(path, diskMode); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, volume.ProvisioningFinished, fmt.Errorf("make disk: %w", err)
	}
	if err := os.Chmod(path, diskMode); err != nil { // whatever the umask
		return nil, volume.ProvisioningFinished, fmt.Errorf("make disk: %w", err)
	}
	reclaim := corev1.PersistentVolumeReclaimDelete
	if options.StorageClass.ReclaimPolicy != nil {
		reclaim = *options.StorageClass.ReclaimPolicy
	}
	mode := corev1.PersistentVolumeFilesystem
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: options.PVName, Labels: map[string]string{corev1.LabelTopologyRegion: d.region}},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: reclaim,
			AccessModes:                   claim.Spec.AccessModes,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			VolumeMode:                    &mode,
			MountOptions:                  options.StorageClass.MountOptions,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{term}}},
			}},
		},
	}, volume.ProvisioningFinished, nil
}

// Delete removes the directory and all in it.
func (d *disks) Delete(_ context.Context, pv *corev1.PersistentVolume) error {
	path, err := d.path(pv.Name)
	if err != nil {
		return err
	}
	if pv.Spec.Local == nil || pv.Spec.Local.Path != path {
		return &volume.IgnoredError{Reason: "the volume is not one of this region's disks"}
	}
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("remove disk: %w", err)
	}
	return nil
}

func (d *disks) path(name string) (string, error) {
	if name == "" || !filepath.IsLocal(name) || filepath.Base(name) != name {
		return "", fmt.Errorf("volume name %q is not a file name", name)
	}
	return filepath.Join(d.root, name), nil
}

func supported(claim *corev1.PersistentVolumeClaim) error {
	for _, mode := range claim.Spec.AccessModes {
		if mode != corev1.ReadWriteOnce && mode != corev1.ReadWriteOncePod {
			return fmt.Errorf("access mode %s: a managed disk is for one node; use ReadWriteOnce or ReadWriteOncePod", mode)
		}
	}
	if claim.Spec.VolumeMode != nil && *claim.Spec.VolumeMode != corev1.PersistentVolumeFilesystem {
		return fmt.Errorf("volume mode %s is not built here; use %s", *claim.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	}
	if claim.Spec.DataSource != nil || claim.Spec.DataSourceRef != nil {
		return errors.New("snapshots and clones are not built here; remove dataSource")
	}
	if claim.Spec.Selector != nil {
		return errors.New("a claim with a selector cannot be provisioned; remove selector")
	}
	return nil
}

// place says which nodes may use the disk.
func (d *disks) place(options volume.ProvisionOptions) (corev1.NodeSelectorRequirement, volume.ProvisioningState, error) {
	in := func(label, value string) corev1.NodeSelectorRequirement {
		return corev1.NodeSelectorRequirement{Key: label, Operator: corev1.NodeSelectorOpIn, Values: []string{value}}
	}
	for key, value := range options.StorageClass.Parameters { // the driver takes both in any case
		isSKU := strings.EqualFold(key, "skuName") || strings.EqualFold(key, "storageAccountType")
		if isSKU && strings.HasSuffix(strings.ToUpper(value), "_ZRS") {
			return in(corev1.LabelTopologyRegion, d.region), volume.ProvisioningFinished, nil
		}
	}
	if options.SelectedNodeName == "" {
		return corev1.NodeSelectorRequirement{}, volume.ProvisioningFinished,
			fmt.Errorf("storage class %s binds at once, before a zone is known; set volumeBindingMode: WaitForFirstConsumer", options.StorageClass.Name)
	}
	node, err := d.nodes.Get(options.SelectedNodeName)
	if err != nil {
		return corev1.NodeSelectorRequirement{}, volume.ProvisioningReschedule, fmt.Errorf("node for the disk: %w", err)
	}
	zone := node.Labels[corev1.LabelTopologyZone]
	if zone == "" {
		return corev1.NodeSelectorRequirement{}, volume.ProvisioningReschedule, fmt.Errorf("node %s is in no zone yet", node.Name)
	}
	return in(corev1.LabelTopologyZone, zone), volume.ProvisioningFinished, nil
}
