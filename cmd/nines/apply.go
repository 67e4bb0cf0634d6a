package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/ground"
)

func newApplyCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Bring a changed description to the ground that runs",
		Long: `Apply builds and renders the description again and makes the running clusters
hold exactly that: server-side, and what is no longer described is deleted.
Regions, zones, nodes and stores are made by "nines up" alone.`,
		Example: `  nines apply
  nines apply -f examples/fleet/nines.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			sys, err := readSystem(file)
			if err != nil {
				return err
			}
			client, err := ground.Connect(string(sys.Name))
			if err != nil {
				return err
			}
			files, err := manifests(cmd.Context(), sys)
			if err != nil {
				return err
			}
			for _, r := range sys.Regions {
				if err := client.Apply(cmd.Context(), string(r.Name), files[string(r.Name)]); err != nil {
					return fmt.Errorf("region %s: %w", r.Name, err)
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "region %s holds %d files\n", r.Name, len(files[string(r.Name)]))
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", descriptionFile, "the description")
	return cmd
}
