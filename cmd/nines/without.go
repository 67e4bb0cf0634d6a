package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/system"
)

// without is what of the platform is left out.
type without []string

var optional = []string{"mesh", "delivery"}

func (w *without) add(cmd *cobra.Command) {
	cmd.Flags().Var(w, "without", "leave out `mesh` (no sidecars, and a load balancer for each public service; every verdict then says so) or delivery (nobody needs Git, and there are no canaries), or both")
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

// of is the system without what is left out.
func (w without) of(sys *system.System) (*system.System, error) {
	switch {
	case slices.Contains(w, "delivery"):
		return sys.WithoutDelivery(), nil
	case sys.Deliver.On() && !w.mesh():
		return nil, fmt.Errorf("%s: deliver needs the mesh, which shares requests between versions: leave both out with --without mesh,delivery", sys.File)
	}
	return sys, nil
}

func (w without) arguments() []string {
	if len(w) == 0 {
		return nil
	}
	return []string{"--without", w.String()}
}
