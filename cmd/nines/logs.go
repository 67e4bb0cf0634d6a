package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/ground"
)

func newLogsCommand() *cobra.Command {
	var which groundFlags
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs [PART]",
		Short: "Print the log of a part, of this run or the last",
		Long: `Logs prints what a program of the ground has written, or without PART the names
that there are: world, owner, and parts such as westeurope-apiserver, which may
also be written westeurope/apiserver. The logs of pods are kubectl's.`,
		Example: `  nines logs
  nines logs westeurope/apiserver
  nines logs -F westeurope-1-1/kubelet`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := which.choose(true)
			if err != nil {
				return err
			}
			dir, err := ground.Logs(name)
			if err != nil {
				return err
			}
			files, err := filepath.Glob(filepath.Join(dir, "*.log"))
			if err != nil {
				return err
			}
			var names []string
			for _, f := range files {
				names = append(names, strings.TrimSuffix(filepath.Base(f), ".log"))
			}
			if len(args) == 0 {
				for _, n := range names {
					fmt.Fprintln(cmd.OutOrStdout(), n)
				}
				return nil
			}
			want := strings.ReplaceAll(args[0], "/", "-")
			if !slices.Contains(names, want) {
				return fmt.Errorf("%s has no log of %s; \"nines logs\" lists those there are", name, args[0])
			}
			return printLog(cmd.Context(), cmd.OutOrStdout(), filepath.Join(dir, want+".log"), follow)
		},
	}
	which.add(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "F", false, "go on as the log grows")
	return cmd
}

func printLog(ctx context.Context, w io.Writer, file string, follow bool) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		if _, err := io.Copy(w, f); err != nil {
			return err
		}
		if !follow {
			return nil
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil
			}
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}
