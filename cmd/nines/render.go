package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/render"
	"github.com/nines-ha/nines/system"
)

// ImagesFunc builds the services of a system that have a source, and returns
// the reference of each by digest.
type ImagesFunc func(context.Context, *system.System) (map[string]string, error)

type renderFlags struct {
	file, dir, region string
	images            []string
	json              bool
	without           without
}

func newRenderCommand(images ImagesFunc, file FileFunc) *cobra.Command {
	var flags renderFlags
	cmd := &cobra.Command{
		Use:   "render",
		Short: "Turn a nines.yaml into Kubernetes manifests",
		Long: `Render prints the manifests of one region, the ones that "nines up" applies.
With -o it makes a folder hold exactly them: it writes what is new or differs,
removes what an earlier rendering left, says what changed, and never touches a
file that it has not written. Services that have a source are built first, since
a manifest names its image by digest; --image names one that is built already.`,
		Example: `  nines render
  nines render -o manifests
  nines render --region northeurope --image vehicle=ghcr.io/example/vehicle:1.4.0`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			files, err := flags.render(cmd.Context(), images)
			if err != nil {
				return err
			}
			if flags.dir != "" {
				return flags.write(cmd, files)
			}
			var all bytes.Buffer
			for _, f := range files {
				all.WriteString("---\n")
				all.Write(f.Body)
			}
			_, err = all.WriteTo(cmd.OutOrStdout())
			return err
		},
	}
	flags.common(cmd, "folder to write to, instead of printing")
	flags.without.add(cmd)
	cmd.Flags().StringVar(&flags.region, "region", "", "region to render, if there are several")
	cmd.AddCommand(newRenderArgoCommand(images, file))
	return cmd
}

func (flags *renderFlags) common(cmd *cobra.Command, output string) {
	cmd.Flags().StringVarP(&flags.file, "file", "f", descriptionFile, "the description")
	cmd.Flags().StringVarP(&flags.dir, "output", "o", "", output)
	cmd.Flags().StringArrayVar(&flags.images, "image", nil, "image of a service, as SERVICE=REFERENCE; may be repeated")
	cmd.Flags().BoolVar(&flags.json, "json", false, "with -o: print what changed as JSON")
}

func (flags renderFlags) render(ctx context.Context, build ImagesFunc) ([]render.File, error) {
	if flags.json && flags.dir == "" {
		return nil, fmt.Errorf("--json says what changed in a folder; name one with -o")
	}
	sys, err := readSystem(flags.file)
	if err != nil {
		return nil, err
	}
	if sys, err = flags.without.of(sys); err != nil {
		return nil, err
	}
	region, err := chooseRegion(sys, flags.region)
	if err != nil {
		return nil, err
	}
	images, err := flags.built(ctx, build, sys)
	if err != nil {
		return nil, err
	}
	return renderRegion(sys, region, images, flags.without.mesh())
}

// built are the images that are named, and those of the rest, built.
func (flags renderFlags) built(ctx context.Context, build ImagesFunc, sys *system.System) (map[string]string, error) {
	given, err := namedImages(sys, flags.images)
	if err != nil {
		return nil, err
	}
	return buildRest(ctx, build, sys, given)
}

func namedImages(sys *system.System, flags []string) (map[string]string, error) {
	images := map[string]string{}
	for _, flag := range flags {
		service, reference, ok := strings.Cut(flag, "=")
		if _, known := sys.Service(service); !ok || !known || reference == "" {
			return nil, fmt.Errorf("--image %s: not SERVICE=REFERENCE with a service of %s", flag, sys.File)
		}
		images[service] = reference
	}
	return images, nil
}

// buildRest builds what has a source and no image yet.
func buildRest(ctx context.Context, build ImagesFunc, sys *system.System, images map[string]string) (map[string]string, error) {
	rest := *sys
	rest.Services = nil
	for _, service := range sys.Services {
		if service.Source != "" && images[string(service.Name)] == "" {
			rest.Services = append(rest.Services, service)
		}
	}
	if len(rest.Services) == 0 || build == nil {
		return images, nil
	}
	built, err := build(ctx, &rest)
	if err != nil {
		return nil, fmt.Errorf("build the images: %w", err)
	}
	for service, reference := range built {
		images[service] = reference
	}
	return images, nil
}

func (flags renderFlags) write(cmd *cobra.Command, files []render.File) error {
	changes, err := render.Folder(flags.dir, files)
	if err != nil {
		return err
	}
	return flags.tell(cmd, changes)
}

func (flags renderFlags) tell(cmd *cobra.Command, changes render.Changes) error {
	for _, list := range []struct {
		verb  string
		paths []string
	}{{"created", changes.Created}, {"changed", changes.Changed}, {"removed", changes.Removed}} {
		for _, path := range list.paths {
			cmd.PrintErrf("%s %s\n", list.verb, path)
		}
	}
	cmd.PrintErrf("%d created, %d changed, %d removed, %d as they were\n", len(changes.Created), len(changes.Changed), len(changes.Removed), len(changes.Unchanged))
	if !flags.json {
		return nil
	}
	encoder := json.NewEncoder(cmd.OutOrStdout())
	encoder.SetIndent("", "  ")
	return encoder.Encode(changes)
}
