package engine

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

// Engine is a recipe together with the pins of its go.mod.
type Engine struct {
	Name     string
	Module   string
	Version  string
	Programs []Program
	CGO      bool
	Packages []string // of Debian, that a compile needs

	recipe Recipe
	dir    string
}

// Program is one executable of an engine.
type Program struct {
	Name    string
	Package string // import path, or the C file in the module

	built string // what the compiler calls it
}

// Catalog reads the engines pinned in the source folder.
func Catalog(source string) ([]Engine, error) {
	return catalog(source, Recipes())
}

func catalog(source string, recipes []Recipe) ([]Engine, error) {
	var engines []Engine
	for _, r := range recipes {
		e, err := load(source, r)
		if err != nil {
			return nil, err
		}
		engines = append(engines, e)
	}
	return engines, nil
}

func load(source string, r Recipe) (Engine, error) {
	dir := filepath.Join(source, r.folder())
	file := filepath.Join(dir, "go.mod")
	text, err := os.ReadFile(file)
	if err != nil {
		return Engine{}, fmt.Errorf("read the pins of engine %s: %w", r.Name, err)
	}
	mod, err := modfile.Parse(file, text, nil)
	if err != nil {
		return Engine{}, fmt.Errorf("read the pins of engine %s: %w", r.Name, err)
	}
	e := Engine{Name: r.Name, Module: r.Module, CGO: r.CGO, Packages: r.Packages, recipe: r, dir: dir}
	for _, req := range mod.Require {
		if req.Mod.Path == r.Module {
			e.Version = req.Mod.Version
		}
	}
	for _, rep := range mod.Replace {
		if rep.Old.Path == r.Module && rep.New.Version != "" {
			e.Version = rep.New.Version
		}
	}
	if e.Version == "" {
		return Engine{}, fmt.Errorf("%s does not require %s; add it with: cd %s && go get %s@VERSION", file, r.Module, dir, r.Module)
	}
	if r.C != nil {
		e.Programs = []Program{{Name: r.C.Binary, Package: r.Module + "/" + r.C.File, built: r.C.Binary}}
		return e, nil
	}
	for _, t := range mod.Tool {
		built := programName(t.Path)
		name := built
		if n, ok := r.Rename[built]; ok {
			name = n
		}
		if len(r.Only) > 0 && !slices.Contains(r.Only, name) {
			continue
		}
		e.Programs = append(e.Programs, Program{Name: name, Package: t.Path, built: built})
	}
	if len(r.Only) > 0 && len(e.Programs) != len(r.Only) {
		return Engine{}, fmt.Errorf("%s names not all of %s as tools; add one with: cd %s && go get -tool PACKAGE", file, strings.Join(r.Only, ", "), dir)
	}
	if len(e.Programs) == 0 {
		return Engine{}, fmt.Errorf("%s names no tool; add one with: cd %s && go get -tool PACKAGE", file, dir)
	}
	slices.SortFunc(e.Programs, func(a, b Program) int { return strings.Compare(a.Name, b.Name) })
	return e, nil
}

// programName is the name go build gives the program of a package: the last
// element of its path that is not a major version.
func programName(pkg string) string {
	base := path.Base(pkg)
	if regexp.MustCompile(`^v[0-9]+$`).MatchString(base) {
		base = path.Base(path.Dir(pkg))
	}
	return base
}
