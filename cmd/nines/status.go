package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/ground"
)

func newStatusCommand() *cobra.Command {
	var which groundFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the ground that runs: ways in, nodes, load balancers, parts",
		Long: `Status asks the owner of the running ground. It exits with 0 when everything is
ready, 1 when it is not, and 2 when nothing runs. docs/json.md describes --json.`,
		Example: `  nines status
  nines status --json`,
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
			if err := printStatus(cmd, status, asJSON); err != nil {
				return err
			}
			if !status.Ready {
				return errNo
			}
			return nil
		},
	}
	which.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printStatus(cmd *cobra.Command, s ground.Status, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(cmd.OutOrStdout())
		encoder.SetIndent("", "  ")
		return encoder.Encode(s)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "%s is %s", s.Name, s.Phase)
	if s.StartedIn > 0 {
		fmt.Fprintf(w, " since %s (started in %.1f s), owner %d", s.Since.Add(time.Duration(s.StartedIn*float64(time.Second))).Format(time.TimeOnly), s.StartedIn, s.PID)
	}
	fmt.Fprintln(w)
	for _, e := range s.Endpoints {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", e.URL, e.Service, e.Region)
	}
	for _, r := range s.Regions {
		for _, n := range r.Nodes {
			state := n.State
			if n.Cut {
				state += ", cut off"
			}
			for _, z := range r.CutZones {
				if z == n.Zone {
					state += ", zone cut off"
				}
			}
			fmt.Fprintf(w, "  node %s\tzone %d\t%s\t%s\n", n.Name, n.Zone, n.Address, state)
		}
		for _, b := range r.Balancers {
			up := 0
			for _, backend := range b.Backends {
				if backend.State == "up" {
					up++
				}
			}
			fmt.Fprintf(w, "  load balancer %s\t%s\t%d of %d backends up\n", b.Name, b.Frontend, up, len(b.Backends))
		}
	}
	for _, st := range s.Stores {
		fmt.Fprintf(w, "  store %s\t%s\t%s\n", st.Name, st.Host, st.Note)
	}
	if g := s.Git; g != nil {
		state := g.Note
		if g.Suspended {
			state = "suspended; " + state
		}
		fmt.Fprintf(w, "  git %s\t%s\t%s\n", g.URL, g.Host, state)
	}
	for _, p := range s.Parts {
		if p.State != "ready" && p.State != "waiting" || p.Restarts > 0 {
			fmt.Fprintf(w, "  part %s\t%s\t%d restarts\t%s\n", p.Name, p.State, p.Restarts, p.Waits)
		}
	}
	if s.Failure != "" {
		fmt.Fprintf(w, "  %s\n", s.Failure)
	}
	fmt.Fprintf(w, "  KUBECONFIG=%s\n", s.Kubeconfig)
	return w.Flush()
}

// notRunning says whether an error only means that there is nothing to talk to.
func notRunning(err error) bool { return errors.Is(err, ground.ErrNotRunning) }
