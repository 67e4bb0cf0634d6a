package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/system"
)

// validity is what "nines validate --json" prints; fields are only added.
type validity struct {
	File   string        `json:"file"`
	Valid  bool          `json:"valid"`
	Errors system.Errors `json:"errors"`
}

func newValidateCommand() *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Say everything that is wrong with a nines.yaml",
		Long: `Validate reads a description and prints each problem on a line of its own:
where it is, what is wrong and what would be right. It needs nothing but the
file. The exit code is 0 for a valid description, 1 for one that is not, and 2
when there is none to read.`,
		Example: `  nines validate
  nines validate -f examples/fleet/nines.yaml
  nines validate --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := readSystem(file)
			var problems system.Errors
			if err != nil && !errors.As(err, &problems) {
				return err
			}
			if problems == nil {
				problems = system.Errors{}
			}
			answer := validity{File: file, Valid: err == nil, Errors: problems}
			if err := answer.print(cmd, asJSON); err != nil {
				return err
			}
			if !answer.Valid {
				return errNo
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", descriptionFile, "the description")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answer as JSON")
	return cmd
}

func (v validity) print(cmd *cobra.Command, asJSON bool) error {
	if asJSON {
		return printJSON(cmd.OutOrStdout(), v)
	}
	for _, problem := range v.Errors {
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), problem); err != nil {
			return err
		}
	}
	if v.Valid {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: valid\n", v.File)
		return err
	}
	return nil
}
