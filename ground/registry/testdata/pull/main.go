// Command pull resolves a reference and reads its manifest and blobs with
// containerd's own client, configured by a certs.d directory as in a node. The
// registry's test compiles it with the modules of the containerd engine.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func main() {
	if err := pull(context.Background(), os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func pull(ctx context.Context, certs, ref string) error {
	resolver := docker.NewResolver(docker.ResolverOptions{
		Hosts: config.ConfigureHosts(ctx, config.HostOptions{HostDir: config.HostDirFromRoot(certs)}),
	})
	name, desc, err := resolver.Resolve(ctx, ref)
	if err != nil {
		return err
	}
	fetcher, err := resolver.Fetcher(ctx, name)
	if err != nil {
		return err
	}
	read := func(d ocispec.Descriptor) ([]byte, error) {
		r, err := fetcher.Fetch(ctx, d)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	text, err := read(desc)
	if err != nil {
		return err
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(text, &manifest); err != nil {
		return err
	}
	for _, layer := range manifest.Layers {
		blob, err := read(layer)
		if err != nil {
			return err
		}
		if int64(len(blob)) != layer.Size {
			return fmt.Errorf("layer %s has %d bytes and not %d", layer.Digest, len(blob), layer.Size)
		}
	}
	fmt.Println(desc.Digest)
	return nil
}
