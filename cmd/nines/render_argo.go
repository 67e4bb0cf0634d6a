package main

import (
	"context"
	"fmt"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/render"
	"github.com/nines-ha/nines/render/argo"
)

type renderArgoFlags struct {
	renderFlags
	repository, environment string
}

// newRenderArgoCommand renders for a platform that is there: AKS brings DNS,
// metrics and the mesh along.
func newRenderArgoCommand(images ImagesFunc) *cobra.Command {
	var flags renderArgoFlags
	cmd := &cobra.Command{
		Use:   "argo",
		Short: "Turn a nines.yaml into the GitOps repository that Argo CD syncs",
		Long: `Render argo makes a folder hold an environment of the GitOps repository: the
manifests of every region, each service in a folder of its own, and the
Applications, ApplicationSets and AppProjects by which Argo CD syncs them, region
by region. What other environments and other people have in it stays. Argo CD
must know each region's cluster by the region's name, with the labels
nines.dev/region=REGION and nines.dev/order=1 for the first, 2 for the next; then
apply root-project.yaml and root.yaml of the environment, and commit the rest.`,
		Example: `  nines render argo -o . --repository https://git.example.com/fleet.git
  nines render argo -o . --repository https://git.example.com/fleet.git --environment staging
  nines render argo -o . --repository https://git.example.com/fleet.git --image vehicle=ghcr.io/example/vehicle@sha256:...`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			files, err := flags.tree(cmd.Context(), images)
			if err != nil {
				return err
			}
			changes, err := render.Part(flags.dir, argo.Folder(flags.environment), files)
			if err != nil {
				return err
			}
			return flags.tell(cmd, changes)
		},
	}
	flags.common(cmd, "the repository's folder")
	cmd.Flags().StringVar(&flags.repository, "repository", "", "address of the repository, as Argo CD reaches it")
	cmd.Flags().StringVar(&flags.environment, "environment", "production", "environment to render, a folder below environments")
	for _, name := range []string{"output", "repository"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return cmd
}

var environmentName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

func (flags renderArgoFlags) tree(ctx context.Context, build ImagesFunc) ([]render.File, error) {
	if !environmentName.MatchString(flags.environment) {
		return nil, fmt.Errorf("--environment %s: want lower-case letters, digits and hyphens, such as staging", flags.environment)
	}
	sys, err := readSystem(flags.file)
	if err != nil {
		return nil, err
	}
	images, err := flags.built(ctx, build, sys)
	if err != nil {
		return nil, err
	}
	options := argo.Options{Environment: flags.environment, Repository: flags.repository}
	for _, r := range sys.Regions {
		files, err := renderRegion(sys, string(r.Name), images, flags.without.mesh())
		if err != nil {
			return nil, err
		}
		options.Regions = append(options.Regions, argo.Region{Name: string(r.Name), Services: files})
	}
	return argo.Render(sys, options)
}
