package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/drill"
	"github.com/nines-ha/nines/drill/claim"
	"github.com/nines-ha/nines/drill/report"
)

func newDrillSuiteCommand() *cobra.Command {
	var flags drillFlags
	var only []string
	var runs int
	cmd := &cobra.Command{
		Use:   "suite",
		Short: "Run all drills, one after the other, and print one table",
		Long: `Suite runs every drill that is available here, so many times, and prints one table.
A drill that cannot be run is told and left out.

Exit status: 0 all held, 1 one was refuted, 2 one was inconclusive, or trouble.`,
		Example: `  nines drill suite
  nines drill suite --only rolling-restart,node-drain --runs 5
  nines drill suite --quick --junit drills.xml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runs < 1 || runs > 100 {
				return errors.New("--runs is 1 to 100")
			}
			if flags.record != "" || flags.html != "" {
				return errors.New("--record and --html are for one drill; a suite keeps a record of each in the ground's folder")
			}
			drills := drill.All()
			if len(only) > 0 {
				drills = nil
				for _, name := range only {
					d, err := drill.Find(strings.TrimSpace(name))
					if err != nil {
						return err
					}
					drills = append(drills, d)
				}
			}
			return flags.suite(cmd, drills, runs)
		},
	}
	flags.add(cmd)
	cmd.Flags().StringSliceVar(&only, "only", nil, "only these `drills`")
	cmd.Flags().IntVar(&runs, "runs", 1, "run each so many times")
	return cmd
}

func (f *drillFlags) suite(cmd *cobra.Command, drills []drill.Drill, runs int) error {
	stage, err := f.stage(cmd)
	if err != nil {
		return err
	}
	defer stage.close()
	var verdicts []*claim.Verdict
	var problems error
	for _, d := range drills {
		if err := d.Available(&stage.site); err != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s is left out: %v\n", d.Name, err)
			continue
		}
		for n := range runs {
			verdict, _, err := stage.run(cmd.Context(), d, "", nil)
			if err != nil {
				problems = errors.Join(problems, fmt.Errorf("%s, run %d: %w", d.Name, n+1, err))
				break
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s, run %d of %d: %s: %s\n", d.Name, n+1, runs, verdict.Verdict, verdict.Because)
			verdicts = append(verdicts, verdict)
			if cmd.Context().Err() != nil {
				break
			}
			stage.site.Seed++
		}
		if err := cmd.Context().Err(); err != nil {
			problems = errors.Join(problems, errors.New("interrupted"))
			break
		}
	}
	if err := f.writeJUnit(verdicts); err != nil {
		return err
	}
	if f.json {
		err = printJSON(cmd.OutOrStdout(), verdicts)
	} else {
		err = report.Table(cmd.OutOrStdout(), verdicts)
	}
	if err := errors.Join(problems, err); err != nil {
		return err
	}
	return worst(verdicts)
}

// worst is the exit code of several verdicts.
func worst(verdicts []*claim.Verdict) error {
	var end error
	for _, v := range verdicts {
		switch v.Verdict {
		case claim.Inconclusive:
			return errInconclusive
		case claim.Refuted:
			end = errNo
		}
	}
	return end
}
