package cloud

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	cloudprovider "k8s.io/cloud-provider"
)

// machines answers the node controllers.
type machines struct{ fabric Fabric }

// find takes a Node for the machine that it was registered by: a machine that
// was made anew under an old name has another provider id and is another one.
func (m machines) find(ctx context.Context, node *corev1.Node) (Machine, error) {
	all, err := m.fabric.Machines(ctx)
	if err != nil {
		return Machine{}, fmt.Errorf("list machines: %w", err)
	}
	for _, machine := range all {
		if node.Spec.ProviderID == machine.ProviderID || node.Spec.ProviderID == "" && node.Name == machine.Name {
			return machine, nil
		}
	}
	return Machine{}, fmt.Errorf("machine of node %s: %w", node.Name, cloudprovider.InstanceNotFound)
}

func (m machines) InstanceExists(ctx context.Context, node *corev1.Node) (bool, error) {
	_, err := m.find(ctx, node)
	return found(err)
}

func (m machines) InstanceShutdown(ctx context.Context, node *corev1.Node) (bool, error) {
	machine, err := m.find(ctx, node)
	exists, err := found(err)
	return exists && !machine.Running, err
}

func (m machines) InstanceMetadata(ctx context.Context, node *corev1.Node) (*cloudprovider.InstanceMetadata, error) {
	machine, err := m.find(ctx, node)
	if err != nil {
		return nil, err
	}
	return &cloudprovider.InstanceMetadata{
		ProviderID:   machine.ProviderID,
		InstanceType: machine.Size,
		Zone:         machine.Zone,
		Region:       machine.Region,
		NodeAddresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: machine.Address.String()},
			{Type: corev1.NodeHostName, Address: machine.Name},
		},
	}, nil
}
