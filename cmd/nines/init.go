package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

//go:embed starter.yaml
var starter []byte

func newInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init [DIR]",
		Short: "Write a nines.yaml to begin with",
		Long: `Init writes a commented nines.yaml into a folder, the current one unless another
is named. It never overwrites one.`,
		Example: `  nines init
  nines init ./platform`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			name := filepath.Join(dir, descriptionFile)
			if err := writeStarter(name); err != nil {
				return err
			}
			cmd.PrintErrf("wrote %s; its service is ./hello, a Go main package: write that, or name yours\n", name)
			cmd.PrintErrf("next: nines validate -f %s\n", name)
			return nil
		},
	}
}

func writeStarter(name string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already; remove it, or name another folder", name)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(starter)
	return errors.Join(err, f.Close())
}
