package ground

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/nines-ha/nines/ground/engine"
	"github.com/nines-ha/nines/ground/git"
	"github.com/nines-ha/nines/ground/postgres"
	"github.com/nines-ha/nines/ground/world"
)

// build compiles and renders what the world waits for, and tells it of each.
func (o *Owner) build(ctx context.Context) error {
	builder := &engine.Builder{CacheDir: o.config.Cache, Source: o.config.Engines, Progress: o.progress}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return builder.Build(ctx, o.engines()...)
	})
	if len(o.config.Stores) > 0 {
		group.Go(func() error {
			dir, err := builder.Root(ctx, postgres.RootName, postgres.RootPackages)
			if err != nil {
				return err
			}
			return o.send(world.Message{Ready: "root/" + postgres.RootName, Dir: dir})
		})
	}
	if o.config.Delivery {
		group.Go(func() error {
			dir, err := builder.Root(ctx, git.RootName, git.RootPackages)
			if err != nil {
				return err
			}
			return o.send(world.Message{Ready: "root/" + git.RootName, Dir: dir})
		})
		group.Go(func() error {
			host, err := o.Git(ctx)
			if err != nil {
				return err
			}
			delivered, err := o.config.Deliver(ctx, host)
			if err != nil {
				return fmt.Errorf("fill the repository: %w", err)
			}
			return o.send(world.Message{Delivered: &delivered})
		})
	}
	group.Go(func() error {
		files, err := o.config.Files(ctx)
		if err != nil {
			return err
		}
		for _, r := range o.config.Regions {
			if err := o.send(world.Message{Region: r.Name, Files: files[r.Name]}); err != nil {
				return err
			}
		}
		return nil
	})
	return group.Wait()
}

func (o *Owner) engines() []string { return world.NeededEngines(o.config.Mesh, o.config.Delivery) }

// tellMaking is of what only an image needs: a root, a wheel.
func (o *Owner) tellMaking(e engine.Event) {
	if e.Phase != engine.Cached && !slices.Contains(o.engines(), e.Engine) {
		o.progress(e)
	}
}

func (o *Owner) progress(e engine.Event) {
	o.mu.Lock()
	s := EngineStatus{Name: e.Engine, Phase: string(e.Phase), Done: e.Done, Total: e.Total, Detail: e.Detail, Elapsed: e.Elapsed.Seconds()}
	found := false
	for i := range o.status.Engines {
		if o.status.Engines[i].Name == e.Engine {
			o.status.Engines[i], found = s, true
		}
	}
	if !found {
		o.status.Engines = append(o.status.Engines, s)
	}
	o.mu.Unlock()
	for _, name := range o.engines() {
		if name == e.Engine && (e.Phase == engine.Cached || e.Phase == engine.Built) {
			_ = o.send(world.Message{Ready: "engine/" + name})
		}
	}
}
