package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/ground"
)

func newDownCommand() *cobra.Command {
	var which groundFlags
	var purge bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "End the ground that runs",
		Long: `Down ends everything that "nines up" started and returns when nothing of it is
left. The data of the stores, the platform's repository and the logs stay; --purge
takes them too. Where nothing runs, down clears what a killed owner may have left.`,
		Example: `  nines down
  nines down --purge`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			name, err := which.choose(true)
			if notRunning(err) {
				fmt.Fprintln(cmd.ErrOrStderr(), "nothing runs")
				return nil
			}
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			client, err := ground.Connect(name)
			switch {
			case err == nil:
				if err := client.Down(ctx); err != nil {
					return err
				}
			case !notRunning(err):
				return err
			}
			switch err := ground.Clean(ctx, name, purge); {
			case errors.Is(err, ground.ErrUnknown):
				fmt.Fprintln(cmd.ErrOrStderr(), err)
				return nil
			case err != nil:
				return err
			}
			if purge {
				fmt.Fprintln(cmd.ErrOrStderr(), name, "is down; its data is gone")
			} else {
				fmt.Fprintln(cmd.ErrOrStderr(), name, "is down; its data is kept")
			}
			return nil
		},
	}
	which.add(cmd)
	cmd.Flags().BoolVar(&purge, "purge", false, "remove the data of the stores, the platform's repository and the logs too")
	return cmd
}
