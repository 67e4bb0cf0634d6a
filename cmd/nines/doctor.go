package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/ground/doctor"
	"github.com/nines-ha/nines/ground/engine"
)

func newDoctorCommand() *cobra.Command {
	var asJSON, fix bool
	command := &cobra.Command{
		Use:   "doctor",
		Short: "Check that this machine can run the ground, and say how to fix what it lacks",
		Long: `Check that this machine can run the ground, and say how to fix what it lacks.

Checks try the thing itself (a namespace, an overlay mount, an nftables rule) in
a process of their own and leave nothing behind. Exit code 1 means that
something is missing without which "nines up" cannot work.

With --json the answer is {"ready", "checks": [{"id", "what", "status", "found",
"why", "fix"}]}, where status is ok, warning, failed or skipped (needs root);
fields are only ever added.`,
		Example: `  sudo nines doctor
  sudo nines doctor --fix
  nines doctor --json`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			cache, err := engine.CacheDir()
			if err != nil {
				return err
			}
			if fix {
				if err := doctor.InstallPackages(command.Context(), command.ErrOrStderr()); err != nil {
					return err
				}
			}
			state, err := ground.States()
			if err != nil {
				return err
			}
			report := doctor.Run(command.Context(), doctor.Here(cache, state), doctor.Checks())
			if asJSON {
				encoder := json.NewEncoder(command.OutOrStdout())
				encoder.SetIndent("", "  ")
				err = encoder.Encode(report)
			} else {
				err = report.Write(command.OutOrStdout())
			}
			if err != nil {
				return fmt.Errorf("write the report: %w", err)
			}
			if !report.Ready {
				return errNo
			}
			return nil
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print the answer as JSON")
	command.Flags().BoolVar(&fix, "fix", false, "install missing Debian packages first (as root, through apt-get)")
	return command
}
