package world

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nines-ha/nines/ground/argo"
	"github.com/nines-ha/nines/ground/image"
	"github.com/nines-ha/nines/ground/kube"
	"github.com/nines-ha/nines/ground/mesh"
	"github.com/nines-ha/nines/ground/node"
	"github.com/nines-ha/nines/ground/part"
	"github.com/nines-ha/nines/ground/registry"
	"github.com/nines-ha/nines/internal/namespace"
	"github.com/nines-ha/nines/internal/process"
)

const registryPort = "5000"

// platformImages are what every node starts with.
func (i *images) platformImages() []string {
	list := []string{node.SandboxImage, kube.CoreDNSImage, kube.MetricsServerImage}
	if i.world.spec.Mesh {
		list = append(list, mesh.Images()...)
	}
	if i.world.spec.Delivery {
		list = append(list, argo.Images()...)
	}
	return list
}

// images is the container registry, one store served in every region, and the
// node image made from it.
type images struct {
	world    *World
	registry *registry.Registry
	node     string // directory of the node image

	mu      sync.Mutex
	waiting map[string][]chan Message // for images that the owner makes
}

func newImages(w *World) *images { return &images{world: w, waiting: map[string][]chan Message{}} }

// provide has the owner make an image: making may need the network, which is not
// in here.
func (i *images) provide(ctx context.Context, reference string) error {
	answer := make(chan Message, 1)
	i.mu.Lock()
	first := len(i.waiting[reference]) == 0
	i.waiting[reference] = append(i.waiting[reference], answer)
	i.mu.Unlock()
	if first {
		i.world.tell(Event{Make: reference})
	}
	select {
	case m := <-answer:
		switch {
		case m.Unknown:
			return fmt.Errorf("%s: %w", reference, image.ErrNotFound)
		case m.Err != "":
			return errors.New(m.Err)
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (i *images) made(m Message) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, answer := range i.waiting[m.Made] {
		answer <- m
	}
	delete(i.waiting, m.Made)
}

func (i *images) dir() string { return filepath.Join(i.world.spec.Dirs.Cache, "images") }

func (i *images) parts() []part.Part {
	needs := []string{"registry", "network", "engine/kubernetes", "engine/containerd", "engine/runc", "engine/coredns", "engine/metrics-server", "engine/pause"}
	if i.world.spec.Mesh {
		for _, name := range mesh.Engines {
			needs = append(needs, "engine/"+name)
		}
	}
	if i.world.spec.Delivery {
		for _, name := range argo.Engines {
			needs = append(needs, "engine/"+name)
		}
	}
	return []part.Part{
		{Name: "registry", About: "the container registry's store, and what stands for upstream images", Prepare: i.open, Undo: i.close},
		{
			Name:    "node-image",
			Needs:   needs,
			About:   "a containerd root with the platform's images unpacked",
			Prepare: i.makeNodeImage,
			Within:  5 * time.Minute,
		},
	}
}

func (i *images) open(context.Context) (err error) {
	known := (&image.Catalogue{}).References // making them is the owner's
	i.registry, err = registry.New(i.dir(), registry.Catalogue{References: known, Provide: i.provide}, i.world.log)
	return err
}

func (i *images) close(context.Context) error {
	if i.registry == nil {
		return nil
	}
	return i.registry.Close()
}

// serve answers pulls at an address of a region's router until stopped.
func (i *images) serve(router *namespace.Set, host string) (stop func() error, err error) {
	l, err := router.Listen("tcp", net.JoinHostPort(host, registryPort))
	if err != nil {
		return nil, fmt.Errorf("serve the registry: %w", err)
	}
	server := &http.Server{Handler: registry.PullOnly(i.registry), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			i.world.log.Error("registry", "error", err)
		}
	}()
	return server.Close, nil
}

// unneeded are what a containerd that only pulls can do without. opt is among
// them because it makes /opt/containerd on the host.
const unneeded = `"io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"`

// makeNodeImage pulls the platform's images with a containerd of its own into an
// empty root, once for each set of digests.
func (i *images) makeNodeImage(ctx context.Context) error {
	store, err := image.Open(i.dir())
	if err != nil {
		return err
	}
	hash := sha256.New()
	containerd, err := i.world.engines.Path("containerd")
	if err != nil {
		return err
	}
	fmt.Fprintln(hash, "1", containerd)
	for _, ref := range i.platformImages() {
		if err := i.provide(ctx, ref); err != nil {
			if slices.Contains(mesh.Images(), ref) {
				err = fmt.Errorf("%w\n\"nines up --envoy PATH\" takes an Envoy that you have, \"nines up --without mesh\" starts without a mesh", err)
			}
			return err
		}
		entry, err := store.Lookup(ref)
		if err != nil {
			return err
		}
		fmt.Fprintln(hash, ref, entry.Digest)
	}
	nodes := filepath.Join(i.world.spec.Dirs.Cache, "nodes")
	dir := filepath.Join(nodes, hex.EncodeToString(hash.Sum(nil))[:16])
	if _, err := os.Stat(dir); err == nil {
		i.node = dir
		return nil
	}
	if err := os.MkdirAll(nodes, 0o755); err != nil {
		return err
	}
	building, err := os.MkdirTemp(nodes, ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(building)
	if err := i.pull(ctx, containerd, building); err != nil {
		return fmt.Errorf("make node image: %w", err)
	}
	if err := os.Rename(filepath.Join(building, "root"), dir); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	i.node = dir
	return nil
}

func (i *images) pull(ctx context.Context, containerd, dir string) error {
	router := i.world.regions[0].network.Router()
	host := i.world.regions[0].plan.Registry().String()
	stop, err := i.serve(router, host)
	if err != nil {
		return err
	}
	defer stop()
	hosts := filepath.Join(dir, "certs.d", "_default")
	if err := os.MkdirAll(hosts, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(hosts, "hosts.toml"), []byte(registry.HostsTOML(net.JoinHostPort(host, registryPort))), 0o644); err != nil {
		return err
	}
	socket := filepath.Join(dir, "c.sock")
	config := fmt.Sprintf("version = 4\nroot = %q\nstate = %q\ndisabled_plugins = [%s]\n", filepath.Join(dir, "root"), filepath.Join(dir, "state"), unneeded)
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(config), 0o644); err != nil {
		return err
	}
	daemon, err := process.Start(process.Spec{
		Name: "node-image", Path: containerd, Args: []string{"--config", filepath.Join(dir, "config.toml"), "--address", socket},
		Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, Dir: "/",
		LogFile:    filepath.Join(i.world.spec.Dirs.Logs, "node-image.log"),
		Namespaces: &namespace.Set{Net: router.Net},
		Group:      i.world.group.Child("system"),
	})
	if err != nil {
		return err
	}
	defer daemon.Stop(context.WithoutCancel(ctx))
	for {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-daemon.Done():
			return errors.New("containerd ended; see node-image.log")
		case <-time.After(10 * time.Millisecond):
		}
	}
	for _, ref := range i.platformImages() {
		var out []byte
		err := router.Do(func() (err error) {
			cmd := exec.CommandContext(ctx, filepath.Join(filepath.Dir(containerd), "ctr"), "-a", socket, "-n", "k8s.io", "images", "pull", "--hosts-dir", filepath.Join(dir, "certs.d"), ref)
			out, err = cmd.CombinedOutput()
			return err
		})
		if err != nil {
			return fmt.Errorf("pull %s: %w\n%s", ref, err, out)
		}
	}
	return nil
}
