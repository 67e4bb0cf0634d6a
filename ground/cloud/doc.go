// Package cloud is the cloud below Kubernetes: the controllers of
// k8s.io/cloud-provider, unchanged, with the ground as their cloud, and the
// provisioner of managed disks. Call Run once for each region, with the Fabric
// that knows its machines and the balancer.Plane of its router; apply Manifests
// before. It starts no machine, moves no packet, and elects no leader: there
// must be one Run for a cluster.
//
// # Machines
//
// A node that registers with the taint node.cloudprovider.kubernetes.io/uninitialized
// gets its provider id, addresses, instance type, region and zone. A machine that
// is off keeps its Node, with the taint node.cloudprovider.kubernetes.io/shutdown,
// once Kubernetes finds it not ready; the Node of a deleted machine goes.
//
// Provider ids look as on AKS (azure:///subscriptions/…/virtualMachineScaleSets/…,
// see ProviderID) rather than nines://…, since dashboards, cost tools and scripts
// that people bring take a pool and an instance out of that form, and what
// passes here must pass there. The provider is called "azure" for the same
// reason. Zones are called westeurope-1, as on AKS.
// https://learn.microsoft.com/azure/aks/availability-zones
//
// # Services of type LoadBalancer
//
// Each becomes one frontend of a Standard Load Balancer with the probes that
// Azure's own cloud provider would set: for externalTrafficPolicy Local, HTTP
// /healthz on the health check node port; for Cluster, TCP on the node port of
// each rule, or with Probes set to SharedProbe, HTTP /healthz on kube-proxy's
// port 10256; every 5 s, threshold 2. UDP rules have no probe. Floating IP is on,
// the idle timeout is 4 minutes, and the reset after it is on.
// https://cloud-provider-azure.sigs.k8s.io/topics/loadbalancer/
// https://learn.microsoft.com/azure/aks/load-balancer-standard
// https://learn.microsoft.com/javascript/api/@azure/arm-containerservice/clusterserviceloadbalancerhealthprobemode
//
// The annotations that this package obeys are constants here. A Service that
// asks for what is not built gets an event that says so, not something else.
// Annotations about Azure resources (names, tags, DNS labels, resource groups,
// private link) change nothing here and are ignored.
//
// # Volumes
//
// The classes managed-csi (where a claim names none), default and
// managed-csi-premium make a directory for each claim and a PersistentVolume
// that any node of the disk's zone may use, and no node of another; a class
// whose skuName ends in _ZRS makes one for any node of the region. On AKS since
// 1.29 the built-in classes of a cluster over several zones are ZRS. Here they
// are LRS, the harder case: what survives it survives the other too.
// https://learn.microsoft.com/azure/aks/concepts-storage#storage-classes
// https://learn.microsoft.com/azure/virtual-machines/disks-redundancy
//
// Not modelled: attach and detach, and with it the minutes for which Azure
// refuses to attach the disk of a dead node elsewhere; capacity; snapshots and
// clones; raw block; expansion.
package cloud
