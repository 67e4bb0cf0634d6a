package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// without is what of the platform is left out.
type without []string

var optional = []string{"mesh"}

func (w *without) add(cmd *cobra.Command) {
	cmd.Flags().Var(w, "without", "leave out `mesh`: no sidecars, and a load balancer for each public service; every verdict then says so")
	_ = cmd.RegisterFlagCompletionFunc("without", cobra.FixedCompletions(optional, cobra.ShellCompDirectiveNoFileComp))
}

func (w *without) String() string { return strings.Join(*w, ",") }
func (w *without) Type() string   { return "part" }

func (w *without) Set(text string) error {
	for name := range strings.SplitSeq(text, ",") {
		if !slices.Contains(optional, name) {
			return fmt.Errorf("%q cannot be left out; what can is %s", name, strings.Join(optional, ", "))
		}
		*w = append(*w, name)
	}
	return nil
}

// mesh tells whether there is one.
func (w without) mesh() bool { return !slices.Contains(w, "mesh") }

func (w without) arguments() []string {
	if len(w) == 0 {
		return nil
	}
	return []string{"--without", w.String()}
}
