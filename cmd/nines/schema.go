package main

import (
	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/system"
)

func newSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of nines.yaml, for editors",
		Long: `Schema prints the JSON Schema (draft 2020-12) of nines.yaml. An editor that has
it completes fields and marks what is misspelt; "nines validate" says more.`,
		Example: `  nines schema > nines.schema.json
  # then, as the first line of nines.yaml:
  # yaml-language-server: $schema=./nines.schema.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := system.Schema()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(body)
			return err
		},
	}
}
