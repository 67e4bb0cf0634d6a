// Package nines holds the tests of the house: that the packages import each
// other only as ARCHITECTURE.md says, and that every file keeps the rules that
// a compiler does not know. Run them with "make architecture". They judge the
// shape of the code and nothing that it does.
package nines

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	modulePath = "github.com/nines-ha/nines"
	tableFile  = "ARCHITECTURE.md"
)

// A sourcePackage is one folder with Go files. The test reads the files itself,
// rather than asking the go command: the test cache sees only what the test
// opens, and would go on saying "ok" otherwise.
type sourcePackage struct {
	dir         string
	imports     map[string]string // import path -> a file that has it
	testImports map[string]string
	comments    []string // files with a package comment
	badComments []string // files whose package comment begins some other way
	inits       []string // files with an init function
}

func TestArchitectureImports(t *testing.T) {
	table, err := readImportTable(tableFile)
	if err != nil {
		t.Fatal(err)
	}
	packages := readPackages(t)
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		for _, problem := range table.check(packages[dir]) {
			t.Error(problem)
		}
	}
	for _, problem := range table.idle() {
		t.Error(problem)
	}
}

func TestArchitectureBans(t *testing.T) {
	bans, err := readBans(tableFile)
	if err != nil {
		t.Fatal(err)
	}
	for dir, p := range readPackages(t) {
		for _, b := range bans {
			if !matches(b.pattern, dir) {
				continue
			}
			for imported, file := range p.imports {
				if b.covers(imported) {
					t.Errorf("%s imports %s; %s bans it from %s: %s", file, imported, tableFile, b.pattern, b.reason)
				}
			}
		}
	}
}

func TestArchitecturePackages(t *testing.T) {
	for dir, p := range readPackages(t) {
		switch len(p.comments) {
		case 0:
			t.Errorf("%s: no package comment; say what it is, what to call first, what it does not do", dir)
		case 1:
		default:
			t.Errorf("%s: %d package comments (%s); keep one", dir, len(p.comments), strings.Join(p.comments, ", "))
		}
		for _, file := range p.badComments {
			t.Errorf("%s: the package comment begins neither with \"Package NAME\" nor with \"Command NAME\"", file)
		}
		for _, file := range p.inits {
			t.Errorf("%s has an init function; let a constructor do it", file)
		}
		switch path.Base(dir) {
		case "util", "utils", "helper", "helpers", "common", "misc", "shared", "lib", "pkg":
			t.Errorf("%s: the folder's name says nothing; name it after what it does, or put the code beside its one user", dir)
		}
	}
}

// What ties a file to the machine or the hand that wrote it.
var foreign = regexp.MustCompile(strings.Join([]string{
	`/work/(main|shared)\b`,
	`(^|[^\w}])/(root|home/\w+)/\w`,
	`\bGOPROXY\s*=\s*"?https?:`,
	`-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/=]{20}`,
}, "|"))

func TestArchitectureForeignWords(t *testing.T) {
	const largest = 1 << 20
	walkFiles(t, func(name string) {
		info, err := os.Stat(name)
		if err != nil || !info.Mode().IsRegular() || info.Size() > largest || name == "architecture_test.go" {
			return
		}
		body, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if found := foreign.FindIndex(body); found != nil && !bytes.Contains(body, []byte{0}) {
			line := 1 + bytes.Count(body[:found[0]], []byte("\n"))
			t.Errorf("%s:%d: %q belongs to one machine or one person; take it out", name, line, body[found[0]:found[1]])
		}
	})
}

// Every library we import is chosen somewhere in docs/decisions.
func TestArchitectureDecisions(t *testing.T) {
	decisions, err := filepath.Glob("docs/decisions/*.md")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, name := range decisions {
		body, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(body)
	}
	modules := append(readRequires(t, "go.mod"), readRequires(t, "service/go.mod")...)
	undecided := map[string]string{} // module -> a file that imports it
	for _, p := range readPackages(t) {
		for imported, file := range merged(p.imports, p.testImports) {
			module := longestPrefix(modules, imported)
			if _, ours := inModule(module); !ours && module != "" && !decided(text.String(), module) {
				undecided[module] = file
			}
		}
	}
	for _, module := range slices.Sorted(maps.Keys(undecided)) {
		t.Errorf("%s imports %s, and no file of docs/decisions says why", undecided[module], module)
	}
}

// decided reports whether a text names the module, what it is a part of
// (example.org/otel for example.org/otel/trace), or "example.org/*".
func decided(text, module string) bool {
	for name := module; name != "."; name = path.Dir(name) {
		whole := `(^|[^\w./-])` + regexp.QuoteMeta(name) + `($|[^\w/-])`
		family := regexp.QuoteMeta(name) + `/\*`
		if regexp.MustCompile(whole + "|" + family).MatchString(text) {
			return true
		}
	}
	return false
}

func TestArchitectureDecided(t *testing.T) {
	cases := []struct {
		text, module string
		want         bool
	}{
		{"chose example.org/a/b.", "example.org/a/b", true},
		{"chose `example.org/a`, as", "example.org/a/trace", true},
		{"chose example.org/a/b", "example.org/a/c", false},
		{"chose example.org/a-b", "example.org/a", false},
		{"chose example.org/*", "example.org/a", true},
		{"chose another", "example.org/a", false},
	}
	for _, c := range cases {
		if got := decided(c.text, c.module); got != c.want {
			t.Errorf("decided(%q, %q) is %v", c.text, c.module, got)
		}
	}
}

func readPackages(t *testing.T) map[string]*sourcePackage {
	t.Helper()
	packages := map[string]*sourcePackage{}
	walkFiles(t, func(name string) {
		if filepath.Ext(name) != ".go" || strings.Contains(name, "testdata/") {
			return
		}
		dir := path.Dir(name)
		if packages[dir] == nil {
			packages[dir] = &sourcePackage{dir: dir, imports: map[string]string{}, testImports: map[string]string{}}
		}
		if err := packages[dir].read(name); err != nil {
			t.Fatal(err)
		}
	})
	return packages
}

func (p *sourcePackage) read(name string) error {
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
	if err != nil {
		return fmt.Errorf("parse %s: %w", name, err)
	}
	isTest := strings.HasSuffix(name, "_test.go")
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return fmt.Errorf("parse %s: %w", name, err)
		}
		if isTest {
			p.testImports[imported] = name
		} else {
			p.imports[imported] = name
		}
	}
	if file.Doc != nil && strings.TrimSpace(file.Doc.Text()) != "" {
		p.comments = append(p.comments, name)
		if !regexp.MustCompile(`^(Package|Command) \w+`).MatchString(file.Doc.Text()) {
			p.badComments = append(p.badComments, name)
		}
	}
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			p.inits = append(p.inits, name)
		}
	}
	return nil
}

// walkFiles visits what is or may be committed, with slash-separated names
// relative to the root.
func walkFiles(t *testing.T, visit func(name string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			switch name {
			case ".git", ".cache", "bin":
				return filepath.SkipDir
			}
			return nil
		}
		visit(filepath.ToSlash(name))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

var require = regexp.MustCompile(`(?m)^(?:require)?\s+(\S+\.\S+/\S+) v\S+`)

func readRequires(t *testing.T, name string) []string {
	t.Helper()
	body, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var modules []string
	for _, match := range require.FindAllSubmatch(body, -1) {
		modules = append(modules, string(match[1]))
	}
	return modules
}

func longestPrefix(modules []string, imported string) string {
	var longest string
	for _, module := range modules {
		if (imported == module || strings.HasPrefix(imported, module+"/")) && len(module) > len(longest) {
			longest = module
		}
	}
	return longest
}

func merged(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}
