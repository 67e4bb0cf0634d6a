package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/drill"
	"github.com/nines-ha/nines/drill/twin"
)

func newDrillListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Explain each drill and each known-bad twin",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			type row struct {
				Name   string   `json:"name"`
				About  []string `json:"about"`
				Ground bool     `json:"ground"`
				Needs  []string `json:"needs"`
				Window float64  `json:"windowSeconds"`
			}
			type bad struct {
				Name  string `json:"name"`
				About string `json:"about"`
				Drill string `json:"drill"`
				Claim string `json:"claim"`
			}
			answer := struct {
				Drills []row `json:"drills"`
				Twins  []bad `json:"twins"`
			}{}
			for _, d := range drill.All() {
				answer.Drills = append(answer.Drills, row{d.Name, d.About[:], d.Ground, d.Needs(), d.Window.Seconds()})
			}
			for _, t := range twin.All() {
				answer.Twins = append(answer.Twins, bad{t.Name, t.About, t.Drill, t.Claim})
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(answer)
			}
			w := cmd.OutOrStdout()
			fmt.Fprintln(w, "drills (nines drill NAME):")
			for _, d := range answer.Drills {
				fmt.Fprintf(w, "\n  %s%s\n    %s\n    %s\n", d.Name, needs(d.Needs), d.About[0], d.About[1])
			}
			fmt.Fprintln(w, "\nknown-bad twins (nines drill --prove NAME):")
			for _, t := range answer.Twins {
				fmt.Fprintf(w, "\n  %s\n    %s\n    %s must refute its claim %q\n", t.Name, t.About, t.Drill, t.Claim)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func needs(what []string) string {
	if len(what) == 0 {
		return ""
	}
	words := strings.NewReplacer("ground", "a ground", "mesh", "a mesh", "store", "a store").Replace(strings.Join(what, ", "))
	return " (needs " + words + ")"
}
