package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/deliver"
)

func newRollbackCommand(find DeliveryFunc) *cobra.Command {
	var flags deliveryFlags
	var to string
	cmd := &cobra.Command{
		Use:   "rollback SERVICE",
		Short: "Take the last deployment of a service back by a git revert, and follow it",
		Long: `Rollback reverts the last commit that deployed the service and still stands, or
with --to all that came after that one, pushes, and follows what comes of it as
deploy does. It says first what it takes back. Run again, it goes one deployment
further back. Where what was deployed has changed again since, it refuses and
names the file.

Exit status: 0 rolled back, 1 refused or nothing to roll back, 2 trouble.`,
		Example: `  nines rollback vehicle
  nines rollback vehicle -m "p99 doubled in Norway"
  nines rollback vehicle --to 1a2b3c4d5`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			j, err := flags.begin(cmd, find, args[0])
			if err != nil {
				return err
			}
			defer j.end()
			return j.back(cmd.Context(), flags.why, func(all []deliver.Deployment) ([]deliver.Deployment, error) {
				return deliver.Undoing(all, to)
			})
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&to, "to", "", "`commit` of the deployment to go back to (default: the one before the last)")
	return cmd
}

// back reverts what choose takes of the service's deployments, and follows that.
func (j *journey) back(ctx context.Context, why string, choose func([]deliver.Deployment) ([]deliver.Deployment, error)) error {
	var d deliver.Deployment
	told := false
	_, err := j.repository.Publish(ctx, func(ctx context.Context) (deliver.Commit, error) {
		all, err := j.repository.Deployments(ctx, j.service)
		if err != nil {
			return deliver.Commit{}, err
		}
		undone, err := choose(all)
		if err != nil {
			return deliver.Commit{}, err
		}
		if !told {
			for _, u := range undone {
				j.story.say("takes back %s of %s, %s: %s", deliver.Short(u.Hash), u.Author, u.Time.Local().Format("2006-01-02 15:04:05"), u.Subject)
			}
			told = true
		}
		d, err = j.repository.Undo(ctx, undone, why)
		return d.Commit, err
	})
	if _, conflict := errors.AsType[*deliver.ConflictError](err); conflict || errors.Is(err, deliver.ErrNothing) {
		return j.conclude(deliver.Verdict{Outcome: deliver.Refused, Service: j.service, Because: err.Error()})
	}
	switch {
	case err != nil:
		return j.interrupted(ctx, err)
	case d.Hash == "":
		j.story.say("Git holds nothing of it any more")
		return nil
	}
	return j.conclude(j.pushed(ctx, d))
}
