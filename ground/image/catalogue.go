package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/nines-ha/nines/ground/engine"
)

// Catalogue makes images for upstream references and puts them into the store.
type Catalogue struct {
	Store   *Store
	Engines *engine.Builder
	Recipes []Recipe // nil: the ground's, see Recipes
}

func (c *Catalogue) recipes() []Recipe {
	if c.Recipes != nil {
		return c.Recipes
	}
	return Recipes()
}

// References lists what the catalogue can make, sorted.
func (c *Catalogue) References() []string {
	var refs []string
	for _, r := range c.recipes() {
		refs = append(refs, r.Reference)
	}
	slices.Sort(refs)
	return refs
}

// Provide sees to it that the store has the image of a full reference: it
// makes it, compiling its engine if need be, unless the store has it from the
// same recipe or from elsewhere. ErrNotFound: there is no recipe.
func (c *Catalogue) Provide(ctx context.Context, reference string) error {
	i := slices.IndexFunc(c.recipes(), func(r Recipe) bool { return r.Reference == reference })
	if i < 0 {
		return fmt.Errorf("no recipe for %s: %w", reference, ErrNotFound)
	}
	r := c.recipes()[i]
	key, err := c.key(r)
	if err != nil {
		return fmt.Errorf("make image %s: %w", reference, err)
	}
	switch have, err := c.Store.Lookup(reference); {
	case err == nil && (have.Recipe == "" || have.Recipe == key):
		return nil
	case err != nil && !errors.Is(err, ErrNotFound):
		return err
	}
	img, err := c.make(ctx, r)
	if err != nil {
		return fmt.Errorf("make image %s: %w", reference, err)
	}
	_, err = c.Store.put(reference, img, key)
	return err
}

func (c *Catalogue) key(r Recipe) (string, error) {
	var from []string
	for _, program := range r.programs() {
		e, err := c.Engines.Find(program)
		if err != nil {
			return "", err
		}
		status, err := c.Engines.Status(e)
		if err != nil {
			return "", err
		}
		from = append(from, filepath.Base(status.Dir))
	}
	if r.Program == "" {
		from = append(from, "debian")
	}
	if r.Wheel != nil && c.Engines.Own[r.Wheel.Name] != "" {
		sum, err := digest(c.Engines.Own[r.Wheel.Name])
		if err != nil {
			return "", err
		}
		from = append(from, sum)
	}
	return r.key(strings.Join(from, " "))
}

// digest is that of a file's content.
func digest(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	return hex.EncodeToString(sum.Sum(nil)), err
}

func (c *Catalogue) make(ctx context.Context, r Recipe) (v1.Image, error) {
	for _, program := range r.programs() {
		e, err := c.Engines.Find(program)
		if err != nil {
			return nil, err
		}
		if err := c.Engines.Build(ctx, e.Name); err != nil {
			return nil, err
		}
	}
	if r.Program != "" {
		program, err := c.Engines.Path(filepath.Base(r.Program))
		if err != nil {
			return nil, err
		}
		return c.Store.fromProgram(program, r)
	}
	root, err := c.Engines.Root(ctx, rootName(r), r.Debian)
	if err != nil {
		return nil, err
	}
	above, err := c.above(ctx, r)
	if err != nil {
		return nil, err
	}
	return c.Store.fromRoot(root, r, above...)
}

// above are the layers that a recipe puts on a Debian root, a layer a program,
// since they are shared where images have the same, and one for all else.
func (c *Catalogue) above(ctx context.Context, r Recipe) ([]layer, error) {
	var files []file
	if r.Wheel != nil {
		program, err := c.Engines.Wheel(ctx, *r.Wheel)
		if err != nil {
			return nil, err
		}
		files = append(files, file{Path: "usr/local/bin/" + filepath.Base(r.Wheel.File), Mode: 0o755, From: program})
	}
	for _, at := range r.Beside {
		program, err := c.Engines.Path(filepath.Base(at))
		if err != nil {
			return nil, err
		}
		if !strings.Contains(at, "/") {
			at = "usr/local/bin/" + at
		}
		files = append(files, file{Path: at, Mode: 0o755, From: program})
	}
	var layers []layer
	for _, f := range files {
		l, err := c.Store.layerOf(f)
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	beside, err := c.beside(r)
	if err != nil || len(beside) == 0 {
		return layers, err
	}
	l, err := c.Store.layerOf(beside...)
	return append(layers, l), err
}

// beside are the files and links that go with the programs.
func (c *Catalogue) beside(r Recipe) (files []file, err error) {
	for _, at := range slices.Sorted(maps.Keys(r.Files)) {
		from, err := c.Engines.File(r.Files[at])
		if err != nil {
			return nil, err
		}
		files = append(files, file{Path: at, Mode: mode(at), From: from})
	}
	for _, at := range slices.Sorted(maps.Keys(r.Links)) {
		files = append(files, file{Path: at, Mode: 0o777, Link: r.Links[at]})
	}
	return files, nil
}

// mode of a file that is put on a root: what is among programs is one.
func mode(at string) int64 {
	if filepath.Base(filepath.Dir(at)) == "bin" {
		return 0o755
	}
	return 0o644
}

// rootName calls the root of an image after its repository's last element.
func rootName(r Recipe) string {
	return "image-" + filepath.Base(repository(r.Reference))
}

// bindLowPorts is cap_net_bind_service=+ep as the kernel stores it with a file
// (version 2, effective).
func bindLowPorts() []byte {
	return []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
}

func (s *Store) fromProgram(program string, r Recipe) (v1.Image, error) {
	f := file{Path: r.Program, Mode: 0o755, From: program}
	if r.BindLowPorts {
		f.Capabilities = bindLowPorts()
	}
	base, err := s.baseLayer()
	if err != nil {
		return nil, err
	}
	top, err := s.layerOf(f)
	if err != nil {
		return nil, err
	}
	config := v1.Config{
		User: r.User, WorkingDir: "/", Entrypoint: r.Entrypoint, Cmd: r.Cmd,
		Env: []string{"PATH=" + path, "SSL_CERT_FILE=/" + certsFile},
	}
	if len(config.Entrypoint) == 0 {
		config.Entrypoint = []string{"/" + f.Path}
	}
	return compose(runtime.GOARCH, config, base, top)
}
