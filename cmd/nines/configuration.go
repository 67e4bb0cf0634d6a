package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/ground/engine"
	"github.com/nines-ha/nines/ground/image"
	"github.com/nines-ha/nines/render"
	"github.com/nines-ha/nines/render/istio"
	"github.com/nines-ha/nines/render/kubernetes"
	"github.com/nines-ha/nines/render/prometheus"
	"github.com/nines-ha/nines/system"
)

// buildImages compiles the services that have a source into the image store.
func buildImages(ctx context.Context, sys *system.System) (map[string]string, error) {
	cache, err := engine.CacheDir()
	if err != nil {
		return nil, err
	}
	store, err := image.Open(filepath.Join(cache, "images"))
	if err != nil {
		return nil, err
	}
	images := map[string]string{}
	for _, s := range sys.Services {
		if s.Source == "" {
			continue
		}
		dir := filepath.Join(filepath.Dir(sys.File), string(s.Source))
		reference := fmt.Sprintf("%s/%s/%s", sys.Registry, sys.Name, s.Name)
		if images[string(s.Name)], err = store.BuildService(ctx, reference, dir); err != nil {
			return nil, err
		}
	}
	return images, nil
}

// manifests are the files of every region, images built.
func manifests(ctx context.Context, sys *system.System, mesh bool) (map[string][]ground.File, error) {
	images, err := buildImages(ctx, sys)
	if err != nil {
		return nil, err
	}
	return renderRegions(sys, images, mesh)
}

// renderRegions leaves Prometheus out, which Argo CD alone brings: a ground puts the
// secrets of stores into each namespace that it is given.
func renderRegions(sys *system.System, images map[string]string, mesh bool) (map[string][]ground.File, error) {
	files := map[string][]ground.File{}
	for _, r := range sys.Regions {
		services, _, err := rendered(sys, string(r.Name), images, mesh)
		if err != nil {
			return nil, err
		}
		for _, f := range services {
			files[string(r.Name)] = append(files[string(r.Name)], ground.File{Path: f.Path, Body: f.Body})
		}
	}
	return files, nil
}

// renderRegion is all that the cluster of a region holds of a system, but for the
// parts of the platform that are not described.
func renderRegion(sys *system.System, region string, images map[string]string, mesh bool) ([]render.File, error) {
	files, err := kubernetes.Render(sys, region, images, kubernetes.Options{Mesh: mesh})
	if err != nil || !mesh {
		return files, err
	}
	rules, err := istio.Render(sys, region, istio.Options{})
	if err != nil {
		return nil, err
	}
	files = append(rules, files...)
	if !sys.Deliver.On() {
		return files, nil
	}
	metrics, err := prometheus.Render(sys, region)
	return append(metrics, files...), err
}

// configure is what a described system asks of a ground.
func configure(sys *system.System, engines string, mesh bool, envoy string) (ground.Config, error) {
	// Files and Deliver are called at once, for as long as the same start lasts.
	var built sync.Once
	var images map[string]string
	var failed error
	build := func(ctx context.Context) (map[string]string, error) {
		built.Do(func() { images, failed = buildImages(ctx, sys) })
		return images, failed
	}
	config := ground.Config{
		Name: string(sys.Name), Mesh: mesh, Envoy: envoy, Delivery: sys.Deliver.On(),
		Files: func(ctx context.Context) (map[string][]ground.File, error) {
			images, err := build(ctx)
			if err != nil {
				return nil, err
			}
			return renderRegions(sys, images, mesh)
		},
	}
	if mesh {
		shared, err := istio.SharedConfig(sys)
		if err != nil {
			return config, err
		}
		for _, f := range shared {
			config.MeshFiles = append(config.MeshFiles, ground.File{Path: f.Path, Body: f.Body})
		}
	}
	for _, r := range sys.Regions {
		config.Regions = append(config.Regions, ground.Region{Name: string(r.Name), Zones: r.Zones, Nodes: r.Nodes})
	}
	for _, s := range sys.Stores {
		config.Stores = append(config.Stores, string(s.Name))
	}
	var err error
	if config.Cache, err = engine.CacheDir(); err != nil {
		return config, err
	}
	if config.Engines, err = engine.Source(engines); err != nil {
		return config, err
	}
	config.Deliver = func(ctx context.Context, host ground.GitAccess) (ground.Delivered, error) {
		images, err := build(ctx)
		if err != nil {
			return ground.Delivered{}, err
		}
		return fill(ctx, sys, images, host, &engine.Builder{CacheDir: config.Cache, Source: config.Engines})
	}
	return config, nil
}
