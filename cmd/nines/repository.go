package main

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/nines-ha/nines/deliver"
	"github.com/nines-ha/nines/ground"
	platform "github.com/nines-ha/nines/ground/argo"
	"github.com/nines-ha/nines/ground/engine"
	"github.com/nines-ha/nines/render"
	"github.com/nines-ha/nines/render/argo"
	"github.com/nines-ha/nines/render/prometheus"
	"github.com/nines-ha/nines/system"
)

// rolloutsEngine brings the manifests of Argo Rollouts.
const rolloutsEngine = "argo-rollouts"

// repository is the tree from which Argo CD delivers a system, whose host calls
// itself remote. file is where a file is that goes with an engine.
func repository(sys *system.System, images map[string]string, remote string, file func(name string) (string, error)) ([]render.File, argo.Options, error) {
	options := argo.Options{Environment: string(sys.Deliver.Environment), Repository: remote}
	rollouts, err := platform.Rollouts(file)
	if err != nil {
		return nil, options, err
	}
	for _, r := range sys.Regions {
		services, metrics, err := rendered(sys, string(r.Name), images, true)
		if err != nil {
			return nil, options, err
		}
		options.Regions = append(options.Regions, argo.Region{Name: string(r.Name), Services: services, Platform: []argo.Component{
			{Name: "rollouts", Namespace: platform.RolloutsNamespace, Files: []render.File{{Path: "argo-rollouts.yaml", Body: append([]byte(render.Header+"\n"), rollouts...)}}},
			{Name: "monitoring", Namespace: prometheus.Namespace, Files: metrics},
		}})
	}
	files, err := argo.Render(sys, options)
	return files, options, err
}

// release is the tree anew, with other images in one region.
func release(sys *system.System, tree []render.File, region string, images map[string]string) ([]render.File, error) {
	options, err := argo.Read(sys, tree, string(sys.Deliver.Environment))
	if err != nil {
		return nil, err
	}
	for i := range options.Regions {
		if r := &options.Regions[i]; r.Name == region {
			if r.Services, _, err = rendered(sys, region, images, true); err != nil {
				return nil, err
			}
		}
	}
	return argo.Render(sys, options)
}

// rendered parts what is of the services from what is of Prometheus.
func rendered(sys *system.System, region string, images map[string]string, mesh bool) (services, metrics []render.File, err error) {
	files, err := renderRegion(sys, region, images, mesh)
	for _, f := range files {
		if name, of := strings.CutPrefix(f.Path, prometheus.Folder+"/"); of {
			metrics = append(metrics, render.File{Path: name, Body: f.Body})
			continue
		}
		services = append(services, f)
	}
	return services, metrics, err
}

// fill makes the repository of a ground's Git host hold what is described.
func fill(ctx context.Context, sys *system.System, images map[string]string, host ground.GitAccess, engines *engine.Builder) (ground.Delivered, error) {
	var delivered ground.Delivered
	if err := engines.Build(ctx, rolloutsEngine); err != nil {
		return delivered, err
	}
	files, options, err := repository(sys, images, host.Remote, engines.File)
	if err != nil {
		return delivered, err
	}
	clone, err := deliver.Clone(ctx, access(host), author(ctx))
	if err != nil {
		return delivered, err
	}
	defer clone.Close()
	_, err = clone.Publish(ctx, func(ctx context.Context) (deliver.Commit, error) {
		if _, err := clone.Replace(files); err != nil {
			return deliver.Commit{}, err
		}
		return clone.Commit(ctx, fmt.Sprintf("up: hold what %s describes\n", path.Base(sys.File)))
	})
	if err != nil {
		return delivered, err
	}
	for _, f := range argo.Bootstrap(files, options.Environment) {
		delivered.Root = append(delivered.Root, ground.File{Path: f.Path, Body: f.Body})
	}
	delivered.Applications = argo.Applications(sys, options)
	return delivered, nil
}

func access(host ground.GitAccess) deliver.Access {
	return deliver.Access{URL: host.URL, CAFile: host.CAFile, Username: host.Username, Password: host.Password}
}
