package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/nines-ha/nines/ground"
)

func newKubeconfigCommand() *cobra.Command {
	var which groundFlags
	var merge bool
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print where the kubeconfig of the running ground is",
		Long: `Kubeconfig prints the path of a file that has a context for each region. The file
goes with the ground. --merge adds its contexts to your own kubeconfig instead,
named after system and region, and chooses none of them.`,
		Example: `  export KUBECONFIG=$(nines kubeconfig)
  nines kubeconfig --merge`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := which.connect()
			if err != nil {
				return err
			}
			status, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			if !status.Ready {
				return fmt.Errorf("%s is not ready yet: %s; see \"nines status\"", status.Name, status.Phase)
			}
			if merge {
				return mergeKubeconfig(status)
			}
			fmt.Fprintln(cmd.OutOrStdout(), status.Kubeconfig)
			return nil
		},
	}
	which.add(cmd)
	cmd.Flags().BoolVar(&merge, "merge", false, "add the contexts to ~/.kube/config (or $KUBECONFIG)")
	return cmd
}

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
