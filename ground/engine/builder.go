package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// buildLimit bounds one engine's build; a cold Kubernetes takes six minutes on
// two cores.
const buildLimit = 90 * time.Minute

// Builder compiles engines into a cache. Its fields are set before the first
// call; the methods may be called from several goroutines and processes.
type Builder struct {
	CacheDir string       // see CacheDir
	Source   string       // the folder with the pins, see Source
	Recipes  []Recipe     // nil: the ground's, see Recipes
	Log      *slog.Logger // nil: silent
	Progress func(Event)  // nil: none

	// Own are programs that are taken instead of a wheel's, by the wheel's name.
	Own map[string]string

	once sync.Once
	host hostFacts
	err  error
}

// Catalog lists the engines.
func (b *Builder) Catalog() ([]Engine, error) {
	return catalog(b.Source, b.recipes())
}

func (b *Builder) recipes() []Recipe {
	if b.Recipes != nil {
		return b.Recipes
	}
	return Recipes()
}

// Build compiles the engines that are not in the cache, several at a time
// where memory and cores allow, and returns when all named ones are there or
// one failed. No name means all. A build that was interrupted goes on from the
// packages that were compiled.
func (b *Builder) Build(ctx context.Context, names ...string) error {
	engines, err := b.choose(names)
	if err != nil {
		return err
	}
	budget := b.memoryBudget()
	memory := semaphore.NewWeighted(budget)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(b.atOnce())
	for _, e := range engines {
		group.Go(func() error {
			return b.build(ctx, e, memory, budget)
		})
	}
	return group.Wait()
}

func (b *Builder) choose(names []string) ([]Engine, error) {
	all, err := b.Catalog()
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return all, nil
	}
	var chosen []Engine
	for _, n := range names {
		i := slices.IndexFunc(all, func(e Engine) bool { return e.Name == n })
		if i < 0 {
			return nil, fmt.Errorf("no engine %q; there are %s", n, strings.Join(engineNames(all), ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// Find is the engine that has a program.
func (b *Builder) Find(program string) (Engine, error) {
	all, err := b.Catalog()
	if err != nil {
		return Engine{}, err
	}
	for _, e := range all {
		if slices.ContainsFunc(e.Programs, func(p Program) bool { return p.Name == program }) {
			return e, nil
		}
	}
	return Engine{}, fmt.Errorf("no engine has a program %q; see: nines engines list", program)
}

// Path is where a program is, once its engine is built.
func (b *Builder) Path(program string) (string, error) {
	e, err := b.Find(program)
	if err != nil {
		return "", err
	}
	dir, err := b.dir(e)
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "bin", program)
	if _, err := os.Stat(file); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("%s %s is not built; run: nines engines build %s", program, e.Version, e.Name)
		}
		return "", fmt.Errorf("find %s: %w", program, err)
	}
	return file, nil
}

// File is where a file is that goes with an engine's programs, once it is built.
func (b *Builder) File(name string) (string, error) {
	for _, r := range b.recipes() {
		if _, ok := r.Files[name]; !ok {
			continue
		}
		e, err := load(b.Source, r)
		if err != nil {
			return "", err
		}
		dir, err := b.dir(e)
		if err != nil {
			return "", err
		}
		file := filepath.Join(dir, "share", name)
		if _, err := os.Stat(file); err != nil {
			return "", fmt.Errorf("%s of %s is not there; run: nines engines build %s", name, e.Name, e.Name)
		}
		return file, nil
	}
	return "", fmt.Errorf("no engine has a file %q", name)
}

// Status says whether an engine is in the cache, and how large it is there.
type Status struct {
	Built bool
	Dir   string
	Bytes int64
	// Took is how long the compile took, zero if unknown.
	Took time.Duration
}

// Status looks an engine up in the cache.
func (b *Builder) Status(e Engine) (Status, error) {
	dir, err := b.dir(e)
	if err != nil {
		return Status{}, err
	}
	s := Status{Dir: dir}
	entries, err := os.ReadDir(filepath.Join(dir, "bin"))
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("look up engine %s: %w", e.Name, err)
	}
	s.Built = true
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil {
			s.Bytes += info.Size()
		}
	}
	if r, err := readReceipt(dir); err == nil {
		s.Took = r.Took
	}
	return s, nil
}

// dir is the place of an engine in the cache.
func (b *Builder) dir(e Engine) (string, error) {
	facts, err := b.facts()
	if err != nil {
		return "", err
	}
	key, err := e.key(facts.goEnv)
	if err != nil {
		return "", err
	}
	return filepath.Join(b.CacheDir, "engines", e.Name, key), nil
}

func (b *Builder) build(ctx context.Context, e Engine, memory *semaphore.Weighted, budget int64) (err error) {
	began := time.Now()
	tell := func(ev Event) {
		ev.Engine, ev.Elapsed = e.Name, time.Since(began)
		b.tell(ev)
	}
	final, err := b.dir(e)
	if err != nil {
		return err
	}
	if present(final) {
		tell(Event{Phase: Cached})
		return nil
	}
	defer func() {
		if err != nil {
			tell(Event{Phase: Failed, Detail: err.Error()})
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, buildLimit)
	defer cancel()

	unlock, err := lock(ctx, filepath.Dir(final), func(holder string) {
		tell(Event{Phase: Waiting, Detail: "for the build of " + holder})
	})
	if err != nil {
		return fmt.Errorf("build %s: %w", e.Name, err)
	}
	defer unlock()
	if present(final) {
		tell(Event{Phase: Cached, Detail: "built by another process"})
		return nil
	}
	need := min(e.recipe.Memory, budget)
	if !memory.TryAcquire(need) {
		tell(Event{Phase: Queued, Detail: fmt.Sprintf("for %d MiB of memory", need)})
		if err := memory.Acquire(ctx, need); err != nil {
			return fmt.Errorf("build %s: %w", e.Name, err)
		}
	}
	defer memory.Release(need)

	staging, err := stage(filepath.Dir(final))
	if err != nil {
		return fmt.Errorf("build %s: %w", e.Name, err)
	}
	defer os.RemoveAll(staging)
	began = time.Now()
	if err := b.compile(ctx, e, filepath.Join(staging, "bin"), tell); err != nil {
		return err
	}
	if err := e.share(ctx, filepath.Join(staging, "share")); err != nil {
		return err
	}
	took := time.Since(began)
	if err := writeReceipt(staging, e, took); err != nil {
		return fmt.Errorf("build %s: %w", e.Name, err)
	}
	if err := publish(staging, final); err != nil {
		return fmt.Errorf("publish %s: %w", e.Name, err)
	}
	tell(Event{Phase: Built})
	b.log().Info("engine built", "engine", e.Name, "version", e.Version, "took", took.Round(time.Second), "dir", final)
	return nil
}

func (b *Builder) tell(ev Event) {
	if b.Progress != nil {
		b.Progress(ev)
	}
}

func (b *Builder) log() *slog.Logger {
	if b.Log != nil {
		return b.Log
	}
	return slog.New(slog.DiscardHandler)
}

func present(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "bin"))
	return err == nil
}

func engineNames(engines []Engine) []string {
	var list []string
	for _, e := range engines {
		list = append(list, e.Name)
	}
	return list
}
