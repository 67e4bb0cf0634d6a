//go:build ground

package ground

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/nines-ha/nines/ground/engine"
)

// A start that fails takes everything back and says what, why and how to go on.
func TestFailedStart(t *testing.T) {
	shape := []Region{{Name: "westeurope", Zones: 1, Nodes: 1}}
	files := func(body string, err error) func(context.Context) (map[string][]File, error) {
		return func(context.Context) (map[string][]File, error) {
			return map[string][]File{"westeurope": {{Path: "objects.yaml", Body: []byte(body)}}}, err
		}
	}
	for _, test := range []struct {
		name   string
		config Config
		want   []string
	}{
		{
			"an engine that ends",
			Config{Regions: shape, Cache: cacheWithBroken(t, "etcd", "#!/bin/sh\necho the disk is on fire >&2\nexit 3\n"), Files: files("", nil)},
			[]string{"westeurope/etcd ended before it was ready: exit status 3", "the disk is on fire", "westeurope-etcd.log", "command: ", "--data-dir="},
		},
		{
			"a store whose root cannot be made",
			Config{Regions: shape, Stores: []string{"ledger"}, Cache: cacheWithoutRoots(t), Files: files("", nil)},
			[]string{"postgresql-15"},
		},
		{
			"files that cannot be rendered",
			Config{Regions: shape, Files: files("", errors.New("service web: no image; build it"))},
			[]string{"service web: no image; build it"},
		},
		{
			"files that are not Kubernetes'",
			Config{Regions: shape, Files: files("{apiVersion: v1, kind: Pod}", nil)},
			[]string{"westeurope/apps", "objects.yaml: document 1", "metadata.name"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			state := newState(t)
			config := withEngines(t, test.config)
			config.Name = "failing"
			var status Status
			var owner *Owner
			err := Up(t.Context(), config, func(o *Owner) { owner = o })
			if err == nil {
				t.Fatal("it came up")
			}
			t.Log(err)
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q", want)
				}
			}
			if status = owner.Status(t.Context()); status.Phase != "failed" || status.Failure == "" || status.Ready {
				t.Errorf("status: phase %q, failure %q", status.Phase, status.Failure)
			}
			footprint{name: config.Name, state: state}.expectNothing(t, "a failed start")
		})
	}
}

// cacheWithBroken is the machine's cache with another program in the place of one.
func cacheWithBroken(t *testing.T, name, script string) string {
	t.Helper()
	config := withEngines(t, Config{})
	path, err := (&engine.Builder{CacheDir: config.Cache, Source: config.Engines}).Path(name)
	if err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	links := map[string]string{}
	for _, dir := range []string{"images", "nodes", "roots"} {
		links[dir] = filepath.Join(config.Cache, dir)
	}
	engines, err := os.ReadDir(filepath.Join(config.Cache, "engines"))
	if err != nil {
		t.Fatal(err)
	}
	version := filepath.Dir(filepath.Dir(path))
	for _, e := range engines {
		if e.Name() != filepath.Base(filepath.Dir(version)) {
			links["engines/"+e.Name()] = filepath.Join(config.Cache, "engines", e.Name())
		}
	}
	rel, err := filepath.Rel(config.Cache, version)
	if err != nil {
		t.Fatal(err)
	}
	receipts, err := os.ReadDir(version)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range receipts {
		if r.Name() != "bin" {
			links[filepath.Join(rel, r.Name())] = filepath.Join(version, r.Name())
		}
	}
	if err := os.MkdirAll(filepath.Join(cache, rel, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for at, to := range links {
		if err := os.Symlink(to, filepath.Join(cache, at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(cache, rel, "bin", name), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return cache
}

// cacheWithoutRoots has a file where Debian roots would be made.
func cacheWithoutRoots(t *testing.T) string {
	t.Helper()
	cache := cacheWithBroken(t, "pause", "#!/bin/sh\nexit 1\n")
	if err := os.Remove(filepath.Join(cache, "roots")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cache, "roots"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return cache
}
