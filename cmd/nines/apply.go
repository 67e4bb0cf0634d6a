package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/system"
)

func newApplyCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Bring a changed description to the ground that runs",
		Long: `Apply builds and renders the description again and makes the running clusters
hold exactly that: server-side, and what is no longer described is deleted. It
waits until everything is ready, two minutes for each region at the most.
Regions, zones, nodes and stores are made by "nines up" alone. Where the description
says deliver it is refused, since Git is the only way in there: "nines deploy SERVICE"
commits what the description has become.`,
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
			status, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			if err := sameGround(sys, status); err != nil {
				return err
			}
			files, err := manifests(cmd.Context(), sys, status.Mesh != "")
			if err != nil {
				return err
			}
			for _, r := range sys.Regions {
				if err := client.Apply(cmd.Context(), string(r.Name), files[string(r.Name)]); err != nil {
					return fmt.Errorf("region %s: %w", r.Name, err)
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "region %s holds %d files and is ready\n", r.Name, len(files[string(r.Name)]))
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", descriptionFile, "the description")
	return cmd
}

// sameGround says which change of the description only a new start can make.
func sameGround(sys *system.System, status ground.Status) error {
	var regions, running, stores, kept []string
	for _, r := range sys.Regions {
		regions = append(regions, fmt.Sprintf("%s with %d zones of %d nodes", r.Name, r.Zones, r.Nodes))
	}
	for _, r := range status.Regions {
		zones := map[int]int{}
		for _, n := range r.Nodes {
			zones[n.Zone]++
		}
		running = append(running, fmt.Sprintf("%s with %d zones of %d nodes", r.Name, len(zones), zones[1]))
	}
	for _, s := range sys.Stores {
		stores = append(stores, string(s.Name))
	}
	for _, s := range status.Stores {
		kept = append(kept, s.Name)
	}
	for _, c := range []struct{ what, want, have string }{
		{"regions", strings.Join(regions, ", "), strings.Join(running, ", ")},
		{"stores", strings.Join(stores, ", "), strings.Join(kept, ", ")},
	} {
		if c.want != c.have {
			return fmt.Errorf("%s of %s: the description says %q, the ground has %q; only a new start changes that: nines down, then nines up", c.what, sys.Name, c.want, c.have)
		}
	}
	return nil
}
