package main

import (
	"fmt"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/nines-ha/nines/ground"
)

// mergeKubeconfig adds the ground's contexts to the user's own kubeconfig, and
// chooses none of them.
func mergeKubeconfig(status ground.Status) error {
	from, err := clientcmd.LoadFromFile(status.Kubeconfig)
	if err != nil {
		return err
	}
	access := clientcmd.NewDefaultPathOptions()
	to, err := access.GetStartingConfig()
	if err != nil {
		return fmt.Errorf("read the kubeconfig to merge into: %w", err)
	}
	for region, context := range from.Contexts {
		name := status.Name + "-" + region
		to.Clusters[name] = from.Clusters[context.Cluster]
		to.AuthInfos[name] = from.AuthInfos[context.AuthInfo]
		context.Cluster, context.AuthInfo = name, name
		to.Contexts[name] = context
	}
	if err := clientcmd.ModifyConfig(access, *to, true); err != nil {
		return fmt.Errorf("merge the kubeconfig: %w", err)
	}
	return nil
}
