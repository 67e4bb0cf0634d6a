package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/drill"
	"github.com/nines-ha/nines/drill/claim"
	"github.com/nines-ha/nines/drill/fault"
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
A drill that is impossible here (on another cluster, or with too few zones) is told
and left out, unless --only names it.

Exit status: 0 all held, 1 one was refuted, 2 one was inconclusive, none could be
run, or trouble.`,
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
			return flags.suite(cmd, drills, runs, len(only) > 0)
		},
	}
	flags.add(cmd)
	cmd.Flags().StringSliceVar(&only, "only", nil, "only these `drills`")
	_ = cmd.RegisterFlagCompletionFunc("only", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return drillNames(nil), cobra.ShellCompDirectiveNoFileComp
	})
	cmd.Flags().IntVar(&runs, "runs", 1, "run each so many times")
	return cmd
}

func (f *drillFlags) suite(cmd *cobra.Command, drills []drill.Drill, runs int, named bool) error {
	stage, err := f.stage(cmd)
	if err != nil {
		return err
	}
	defer stage.close()
	verdicts := []*claim.Verdict{}
	var others []report.Untold
	var problems error
	trouble := func(name string, err error) {
		problems = errors.Join(problems, fmt.Errorf("%s: %w", name, err))
		others = append(others, report.Untold{Name: name, Why: err.Error()})
	}
	for _, d := range drills {
		if impossible, ok := errors.AsType[*fault.ImpossibleError](d.Available(&stage.site)); ok {
			if named {
				trouble(d.Name, impossible)
				continue
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s is left out: %v\n", d.Name, impossible)
			others = append(others, report.Untold{Name: d.Name, Why: impossible.Error(), Kind: report.LeftOut})
			continue
		}
		for n := range runs {
			verdict, _, err := stage.run(cmd.Context(), d, "", nil)
			if err != nil {
				trouble(fmt.Sprintf("%s, run %d", d.Name, n+1), err)
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
	if len(verdicts) == 0 && problems == nil {
		problems = errors.New("none of these drills can be run here, so nothing is proven")
	}
	problems = errors.Join(problems, f.writeJUnit(verdicts, others...))
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
