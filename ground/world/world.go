package world

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nines-ha/nines/ground/cloud"
	"github.com/nines-ha/nines/ground/engine"
	"github.com/nines-ha/nines/ground/network"
	"github.com/nines-ha/nines/ground/part"
	"github.com/nines-ha/nines/internal/cgroup"
)

// World is a ground from inside.
type World struct {
	spec      Spec
	engines   *engine.Builder
	group     *cgroup.Group
	fabric    atomic.Pointer[network.Fabric] // nil before the network stands
	images    *images
	regions   []*region
	stores    []*store
	git       *gitHost // nil without delivery
	runner    *part.Runner
	log       *slog.Logger
	arrivals  *arrivals
	delivered chan Delivered

	standing   atomic.Bool // every part is ready
	kubeconfig sync.Mutex  // one file for all regions

	out struct {
		sync.Mutex
		*json.Encoder
	}
}

// Stage is the program of a world: it reads its Spec from file descriptor 3,
// brings everything up, and returns when it is told to stop, when its owner is
// gone or when a part fails at the start.
func Stage() error {
	var spec Spec
	in := os.NewFile(3, "spec")
	err := json.NewDecoder(in).Decode(&spec)
	in.Close()
	if err != nil {
		return fmt.Errorf("read spec: %w", err)
	}
	if err := seclude(); err != nil {
		return err
	}
	go reap()
	cloud.UseLog(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	w, err := newWorld(spec)
	if err != nil {
		return err
	}
	w.out.Encoder = json.NewEncoder(os.Stdout)
	return w.run()
}

// seclude gives the process the mounts that go with its namespaces.
func seclude() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// The sockets of the host's services stay unseen.
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=64m"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	return nil
}

// reap collects orphans that became children of pid 1. The children that were
// started here are waited for by those who started them, and are left alone: an
// orphan is one that has been dead for a whole round.
func reap() {
	seen := map[int]bool{}
	for range time.Tick(5 * time.Second) {
		dead := zombies()
		for pid := range dead {
			if seen[pid] {
				_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
			}
		}
		seen = dead
	}
}

func newWorld(spec Spec) (*World, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	group, err := cgroup.Open(spec.Group)
	if err != nil {
		return nil, err
	}
	w := &World{
		spec:      spec,
		engines:   &engine.Builder{CacheDir: spec.Dirs.Cache, Source: spec.Engines},
		group:     group,
		arrivals:  newArrivals(),
		delivered: make(chan Delivered, 1),
		log:       slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	w.images = newImages(w)
	for i, r := range spec.Regions {
		w.regions = append(w.regions, newRegion(w, i, r))
	}
	for i, name := range spec.Stores {
		w.stores = append(w.stores, newStore(w, i, name))
	}
	if spec.Delivery {
		w.git = newGitHost(w)
	}
	w.runner, err = part.NewRunner(w.parts(), func(e part.Event) { w.tell(Event{Part: &e}) })
	return w, err
}

// Plan is what a world of this shape would start, in order. It touches nothing.
func Plan(spec Spec) ([]part.Part, error) {
	w, err := newWorld(spec)
	if err != nil {
		return nil, err
	}
	return part.Order(w.parts())
}

func (w *World) tell(e Event) {
	w.out.Lock()
	defer w.out.Unlock()
	_ = w.out.Encode(e) // an owner that is gone ends the world through its input
}

func (w *World) run() error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() { cancel(w.listen()) }()
	control, err := w.serveControl()
	if err != nil {
		return err
	}
	defer control.Close()
	err = w.runner.Start(ctx)
	switch {
	case errors.Is(err, errStop):
		return nil
	case err != nil:
		w.tell(Event{Err: err.Error()})
		return err
	}
	w.standing.Store(true)
	w.tell(Event{Up: true})
	<-ctx.Done()
	if errors.Is(context.Cause(ctx), errStop) {
		stop, done := context.WithTimeout(context.Background(), 20*time.Second)
		defer done()
		return w.stop(stop)
	}
	return context.Cause(ctx) // the owner is gone: everything ends with this process
}

// stop ends gracefully only what has data to keep. The rest ends with pid 1.
func (w *World) stop(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, s := range w.stores {
		wg.Go(func() { w.runner.StopOne(ctx, s.part) })
	}
	if w.git != nil {
		wg.Go(func() { w.runner.StopOne(ctx, w.git.part) })
	}
	wg.Wait()
	return nil
}

var (
	errStop = errors.New("told to stop")
	errGone = errors.New("the owner is gone")
)

// listen reads the owner's messages until there are no more.
func (w *World) listen() error {
	lines := bufio.NewReader(os.Stdin)
	decoder := json.NewDecoder(lines)
	for {
		var m Message
		if err := decoder.Decode(&m); err != nil {
			if !errors.Is(err, io.EOF) {
				w.log.Error("owner's message", "error", err)
			}
			return errGone
		}
		switch {
		case m.Stop:
			return errStop
		case m.Region != "":
			for _, r := range w.regions {
				if r.spec.Name == m.Region {
					r.receive(m.Files)
				}
			}
		case m.Ready != "":
			w.arrivals.add(m.Ready, m.Dir)
		case m.Made != "":
			w.images.made(m)
		case m.Delivered != nil:
			select {
			case w.delivered <- *m.Delivered:
			default: // once is enough: from then on Argo CD looks itself
			}
		}
	}
}
