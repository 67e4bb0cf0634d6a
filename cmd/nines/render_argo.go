package main

import (
	"context"
	"fmt"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/ground/engine"
	"github.com/nines-ha/nines/render"
	"github.com/nines-ha/nines/render/argo"
	"github.com/nines-ha/nines/system"
)

// A FileFunc says where a file is that goes with an engine's programs.
type FileFunc func(name string) (string, error)

type renderArgoFlags struct {
	renderFlags
	repository, environment string
}

func newRenderArgoCommand(images ImagesFunc, file FileFunc) *cobra.Command {
	var flags renderArgoFlags
	cmd := &cobra.Command{
		Use:   "argo",
		Short: "Turn a nines.yaml into the GitOps repository that Argo CD syncs",
		Long: `Render argo makes a folder hold an environment of the GitOps repository, the one
that "nines up" fills: the manifests of every region, each service in a folder of
its own, Argo Rollouts and Prometheus, and the Applications, ApplicationSets and
AppProjects by which Argo CD syncs them. What other environments and other people
have in it stays. Argo CD must know each region's cluster by the region's name,
with the labels nines.dev/region=REGION and nines.dev/order=1 for the first, 2 for
the next, and have progressive syncs and a health check of Applications; commit
what is written, then apply root-project.yaml and root.yaml of the environment.`,
		Example: `  nines render argo -o . --repository https://git.example.com/fleet.git
  nines render argo -o . --repository https://git.example.com/fleet.git --environment staging
  nines render argo -o . --repository https://git.example.com/fleet.git --image vehicle=ghcr.io/example/vehicle@sha256:...`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			sys, files, err := flags.tree(cmd.Context(), images, file)
			if err != nil {
				return err
			}
			changes, err := render.Part(flags.dir, argo.Folder(string(sys.Deliver.Environment)), files)
			if err != nil {
				return err
			}
			return flags.tell(cmd, changes)
		},
	}
	flags.common(cmd, "the repository's folder")
	cmd.Flags().StringVar(&flags.repository, "repository", "", "address of the repository, as Argo CD reaches it")
	cmd.Flags().StringVar(&flags.environment, "environment", "", "environment to render (default: the description's)")
	for _, name := range []string{"output", "repository"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return cmd
}

var environmentName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

func (flags renderArgoFlags) tree(ctx context.Context, build ImagesFunc, file FileFunc) (*system.System, []render.File, error) {
	sys, err := readSystem(flags.file)
	switch {
	case err != nil:
		return nil, nil, err
	case !sys.Deliver.On():
		return nil, nil, fmt.Errorf("%s does not say that it is delivered from a repository; add the line \"deliver: {}\"", sys.File)
	case flags.environment != "" && !environmentName.MatchString(flags.environment):
		return nil, nil, fmt.Errorf("--environment %s: want lower-case letters, digits and hyphens, such as staging", flags.environment)
	case flags.environment != "":
		sys.Deliver.Environment = system.Name(flags.environment)
	}
	images, err := flags.built(ctx, build, sys)
	if err != nil {
		return nil, nil, err
	}
	files, _, err := repository(sys, images, flags.repository, file)
	return sys, files, err
}

// engineFile looks into the cache.
func engineFile(name string) (string, error) {
	cache, err := engine.CacheDir()
	if err != nil {
		return "", err
	}
	source, err := engine.Source("")
	if err != nil {
		return "", err
	}
	builder := engine.Builder{CacheDir: cache, Source: source}
	return builder.File(name)
}
