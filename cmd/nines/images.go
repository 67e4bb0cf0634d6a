package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/nines-ha/nines/ground/engine"
	"github.com/nines-ha/nines/ground/image"
	"github.com/spf13/cobra"
)

func newImagesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "images",
		Short: "Load and list the container images of the ground",
		Long: `Nodes pull every image from the ground's own registry. It has what was pushed to
it, what was loaded with this command, and what the catalogue makes on demand
from pinned engines and Debian packages.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(newImagesLoadCommand(), newImagesListCommand())
	return cmd
}

// openImages opens the store that every ground of this user serves.
func openImages() (*image.Store, error) {
	cache, err := engine.CacheDir()
	if err != nil {
		return nil, err
	}
	return image.Open(filepath.Join(cache, "images"))
}

func newImagesLoadCommand() *cobra.Command {
	as := ""
	cmd := &cobra.Command{
		Use:   "load PATH",
		Short: "Take images from a file or folder",
		Long: `Takes unmodified images from an OCI image layout (a folder or a tar) or from what
"docker save" writes, and prints their references. A running ground serves them
at once.`,
		Example: "  docker save nginx:1.27 -o nginx.tar && nines images load nginx.tar\n" +
			"  skopeo copy docker://quay.io/argoproj/argocd:v3.2.6 oci-archive:argocd.tar\n" +
			"  nines images load argocd.tar --as quay.io/argoproj/argocd:v3.2.6",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := openImages()
			if err != nil {
				return err
			}
			loaded, err := store.Load(args[0], as)
			for _, ref := range loaded {
				fmt.Fprintln(cmd.OutOrStdout(), ref)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&as, "as", "", "reference for an image that has none, or another one")
	return cmd
}

// imageRow is one line of "images list --json"; fields are only added.
type imageRow struct {
	Reference string `json:"reference"`
	Digest    string `json:"digest"` // empty: not made yet
	Source    string `json:"source"` // catalogue, local or loaded
}

func newImagesListCommand() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the images that nodes can pull",
		Example: "  nines images list\n  nines images list --json | jq -r '.[].reference'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			rows, err := imageRows()
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(rows)
			}
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(table, "REFERENCE\tSOURCE\tDIGEST")
			for _, r := range rows {
				digest := "made when first pulled"
				if r.Digest != "" {
					digest = r.Digest
				}
				fmt.Fprintf(table, "%s\t%s\t%s\n", r.Reference, r.Source, digest)
			}
			return table.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func imageRows() ([]imageRow, error) {
	store, err := openImages()
	if err != nil {
		return nil, err
	}
	entries, err := store.List()
	if err != nil {
		return nil, err
	}
	catalogue := &image.Catalogue{Store: store}
	rows := []imageRow{}
	for _, e := range entries {
		source := "loaded"
		switch {
		case e.Recipe != "":
			source = "catalogue"
		case strings.HasPrefix(e.Reference, "registry.local/"):
			source = "local"
		}
		rows = append(rows, imageRow{e.Reference, e.Digest.String(), source})
	}
	for _, ref := range catalogue.References() {
		if !slices.ContainsFunc(rows, func(r imageRow) bool { return r.Reference == ref }) {
			rows = append(rows, imageRow{Reference: ref, Source: "catalogue"})
		}
	}
	slices.SortFunc(rows, func(a, b imageRow) int { return strings.Compare(a.Reference, b.Reference) })
	return rows, nil
}
