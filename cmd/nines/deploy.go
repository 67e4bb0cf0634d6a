package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/deliver"
	"github.com/nines-ha/nines/ground/image"
)

type deployFlags struct {
	deliveryFlags
	image, source string
	follow        bool
	supersede     bool
	revert        bool
}

func newDeployCommand(find DeliveryFunc) *cobra.Command {
	var flags deployFlags
	cmd := &cobra.Command{
		Use:   "deploy SERVICE",
		Short: "Bring a new version of a service by a commit, and follow it until it runs alone or is taken back",
		Long: `Deploy builds the service, or takes an image that the ground's registry has,
commits the repository with its digest, pushes, and follows what Argo CD and Argo
Rollouts make of it: sync, steps, weights, pods and what the analysis measures.
Regions get it one after the other, each with a commit of its own and only when
the one before is healthy, unless the description says that they get it together.

It changes nothing but Git, and asks Argo CD to look at it now. Ctrl-C stops the looking, not the rollout. Run again,
it goes on where it stopped. While another version is on its way it refuses, since
that one would lose its pods under the requests it gets; --supersede does it all
the same. docs/delivery.md tells the rest.

Exit status: 0 promoted, or there was nothing to change; 1 aborted, or refused;
2 trouble, a timeout or Ctrl-C.`,
		Example: `  nines deploy vehicle
  nines deploy vehicle --source ../vehicle -m "answers faster near the poles"
  nines deploy vehicle --image registry.local/fleet/vehicle:1.4.0 --revert-on-abort
  nines deploy --follow vehicle
  nines deploy vehicle --json | jq -c 'select(.verdict)'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return flags.run(cmd, find, args[0]) },
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&flags.image, "image", "", "`reference` of an image in the ground's registry (default: the image or source of the description)")
	cmd.Flags().StringVar(&flags.source, "source", "", "`folder` of a Go main package to build (default: the source of the description)")
	cmd.Flags().BoolVar(&flags.follow, "follow", false, "change nothing; follow the last deployment or rollback of the service")
	cmd.Flags().BoolVar(&flags.supersede, "supersede", false, "go ahead although another version is on its way, or the cluster cannot be asked")
	cmd.Flags().BoolVar(&flags.revert, "revert-on-abort", false, "if it is aborted, take the commit back as \"nines rollback\" does; the exit status stays 1")
	cmd.MarkFlagsMutuallyExclusive("image", "source", "follow")
	cmd.MarkFlagsMutuallyExclusive("supersede", "follow")
	return cmd
}

func (f deployFlags) run(cmd *cobra.Command, find DeliveryFunc, service string) error {
	j, err := f.begin(cmd, find, service)
	if err != nil {
		return err
	}
	defer j.end()
	ctx := cmd.Context()
	if f.follow {
		return j.again(ctx)
	}
	reference, version, err := f.build(ctx, j)
	if err != nil {
		return j.interrupted(ctx, err)
	}
	batches := [][]string{j.regions()}
	if !j.Together {
		batches = slices.Collect(slices.Chunk(j.regions(), 1))
	}
	var verdict deliver.Verdict
	var done []string
	var mine []deliver.Deployment
	for i, regions := range batches {
		d, v, err := f.bring(ctx, j, deliver.Deployment{Service: service, Image: reference, Version: version, Regions: regions})
		mine = append(mine, d)
		switch {
		case err != nil && ctx.Err() != nil && i > 0: // what is in Git stays there
			v = deliver.Verdict{Outcome: deliver.Interrupted, Because: runsAlone(reference, done), Service: service, Revision: verdict.Revision, Image: reference}
		case err != nil:
			return j.interrupted(ctx, err)
		}
		verdict = v
		if v.Outcome != deliver.Promoted {
			verdict.Waiting = slices.Concat(batches[min(i+1, len(batches)):]...)
			if v.Revision == "" || err != nil {
				verdict.Waiting = slices.Concat(batches[i:]...)
			}
			break
		}
		done = append(done, regions...)
		if len(batches) > 1 {
			j.story.say("%s: %s", regions[0], runsAlone(reference, regions))
		}
	}
	if verdict.Outcome == deliver.Promoted {
		verdict.Because = runsAlone(reference, done)
	}
	verdict.Took = j.story.since(j.story.began)
	code := j.conclude(verdict)
	if verdict.Outcome == deliver.Aborted && f.revert {
		j.takeBack(ctx, mine, verdict.Because)
	}
	return code
}

func runsAlone(image string, regions []string) string {
	return fmt.Sprintf("%s runs alone in %s", deliver.ShortImage(image), strings.Join(regions, ", "))
}

// takeBack undoes a deployment that was aborted, unless somebody deployed since.
func (j *journey) takeBack(ctx context.Context, mine []deliver.Deployment, because string) {
	err := j.back(ctx, "taken back since it was aborted: "+because, func(all []deliver.Deployment) ([]deliver.Deployment, error) {
		undone, err := deliver.Undoing(all, "")
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(mine, func(d deliver.Deployment) bool { return d.Hash == undone[0].Hash }) {
			return nil, fmt.Errorf("%w: %s was deployed since, by %s", deliver.ErrNothing, deliver.Short(undone[0].Hash), undone[0].Author)
		}
		return undone, nil
	})
	if err != nil && !errors.Is(err, errNo) && !errors.Is(err, errInconclusive) {
		j.story.say("not taken back: %v", err)
	}
}

// build gives the image to deploy, by digest, and its version.
func (f deployFlags) build(ctx context.Context, j *journey) (reference, version string, err error) {
	store, err := openImages()
	if err != nil {
		return "", "", err
	}
	service, _ := j.sys.Service(j.service)
	named := f.image
	if named == "" && f.source == "" {
		named = string(service.Image)
	}
	if named != "" {
		return held(store, named)
	}
	dir := f.source
	if dir == "" {
		dir = j.sys.Folder(service)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", "", err
	}
	reference, err = store.BuildService(ctx, j.sys.Repository(service), dir)
	if err != nil {
		return "", "", err
	}
	version = describe(ctx, dir)
	j.story.say("built %s %s", deliver.ShortImage(reference), version)
	return reference, version, nil
}

// held finds an image in the ground's registry. A tag may move, a digest is what
// was looked at: only that goes into Git.
func held(store *image.Store, named string) (reference, version string, err error) {
	full, err := image.Reference(named)
	if err != nil {
		return "", "", err
	}
	repository, text, byDigest := strings.Cut(full, "@")
	if byDigest {
		digest, err := v1.NewHash(text)
		if err == nil {
			_, _, err = store.Manifest(digest)
		}
		if err == nil {
			return full, "", nil
		}
		return "", "", absent(full, err)
	}
	entry, err := store.Lookup(full)
	if err != nil {
		return "", "", absent(full, err)
	}
	version = deliver.ShortImage(full)
	repository = strings.TrimSuffix(repository, ":"+version)
	return repository + "@" + entry.Digest.String(), version, nil
}

func absent(reference string, err error) error {
	if !errors.Is(err, image.ErrNotFound) {
		return err
	}
	return fmt.Errorf("the ground's registry has no %s; put it there with \"nines images load\", see \"nines images list\"", reference)
}

// bring commits a deployment to its regions and follows it. What is in Git already
// is followed only.
func (f deployFlags) bring(ctx context.Context, j *journey, wanted deliver.Deployment) (d deliver.Deployment, v deliver.Verdict, err error) {
	region, refuse, err := j.busy(ctx, wanted)
	switch {
	case err != nil && f.supersede && ctx.Err() == nil:
		j.story.say("what runs cannot be asked for: %v", err)
	case err != nil:
		return d, v, err
	case refuse != "" && f.supersede:
		j.story.say("%s: %s; superseded", region, refuse)
	case refuse != "":
		return d, deliver.Verdict{
			Outcome: deliver.Refused, Service: j.service, Image: wanted.Image, Region: region,
			Because: refuse + "; wait for it (nines deploy --follow " + j.service + "), take it back (nines rollback " + j.service + "), or say --supersede",
		}, nil
	}
	c, err := j.repository.Publish(ctx, func(ctx context.Context) (deliver.Commit, error) {
		var err error
		d, err = j.change(ctx, wanted)
		return d.Commit, err
	})
	if err != nil {
		return d, v, err
	}
	if c.Hash != "" {
		return d, j.pushed(ctx, d), nil
	}
	if d, err = j.last(ctx, wanted); err != nil {
		return d, v, err
	}
	j.story.say("nothing to change: Git has %s in %s already (commit %s)", deliver.ShortImage(d.Image), strings.Join(d.Regions, ", "), deliver.Short(d.Hash))
	return d, j.follow(ctx, d), nil
}

// busy says where and why a new version cannot come now, "" if it can.
func (j *journey) busy(ctx context.Context, d deliver.Deployment) (region, why string, err error) {
	states, err := j.now(ctx, d.Regions)
	if err != nil {
		return "", "", err
	}
	for _, s := range states {
		inGit, err := j.image(s.Region)
		switch {
		case err != nil:
			return "", "", err
		case s.Absent || s.Image == d.Image:
		case s.Canary:
			return s.Region, fmt.Sprintf("%s is on its way (%s at step %d of %d, weight %d %%), and its pods would go away under its requests",
				deliver.ShortImage(s.Image), strings.ToLower(s.Phase), s.Step, s.Steps, s.Weight), nil
		case s.Image != inGit && inGit != d.Image:
			return s.Region, fmt.Sprintf("Git holds %s, which has not arrived yet", deliver.ShortImage(inGit)), nil
		}
	}
	return "", "", nil
}

func (j *journey) now(ctx context.Context, regions []string) ([]deliver.State, error) {
	return j.Follower.In(regions...).Now(ctx, deliver.Release{Service: j.service, Namespace: string(j.sys.Name), Kind: j.Kind})
}

// last is the deployment that brought an image to regions; the newest commit where
// none says so.
func (j *journey) last(ctx context.Context, d deliver.Deployment) (deliver.Deployment, error) {
	all, err := j.repository.Deployments(ctx, j.service)
	if err != nil {
		return d, err
	}
	for _, one := range all {
		if one.Image == d.Image && slices.ContainsFunc(one.Regions, func(r string) bool { return slices.Contains(d.Regions, r) }) {
			one.Regions = d.Regions
			return one, nil
		}
	}
	d.Previous = ""
	d.Hash, err = j.repository.Head(ctx)
	return d, err
}

// again follows the last deployment, also one that takes others back.
func (j *journey) again(ctx context.Context) error {
	all, err := j.repository.Deployments(ctx, j.service)
	if err != nil {
		return j.interrupted(ctx, err)
	}
	if len(all) == 0 {
		return fmt.Errorf("there is no deployment of %s in Git that could be followed", j.service)
	}
	d := all[0]
	j.story.say("commit %s of %s, %s: %s", deliver.Short(d.Hash), d.Author, d.Time.Local().Format("2006-01-02 15:04:05"), d.Subject)
	return j.conclude(j.follow(ctx, d))
}
