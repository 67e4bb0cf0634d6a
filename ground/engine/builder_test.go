package engine

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tiny writes a source folder with one engine of two small programs, one of
// them under a major version, so that it has to be renamed.
func tiny(t *testing.T, code string) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"tiny/go.mod": "module engine.test/tiny\n\ngo 1.26.0\n\nrequire example.test/upstream v1.2.3\n\n" +
			"replace example.test/upstream => ./upstream\n\n" +
			"tool (\n\texample.test/upstream/cmd/hello\n\texample.test/upstream/server/v3\n)\n",
		"tiny/upstream/go.mod":               "module example.test/upstream\n\ngo 1.26.0\n",
		"tiny/upstream/cmd/hello/main.go":    "package main\n\nvar version = \"none\"\n\nfunc main() { println(version) }\n",
		"tiny/upstream/server/v3/main.go":    code,
		"tiny/upstream/build/pause/pause.c":  "int main(void) { return 0; }\n",
		"tiny/upstream/cmd/hello/ignored.md": "",
	}
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var tinyRecipe = Recipe{
	Name: "tiny", Module: "example.test/upstream", Memory: 10,
	LDFlags: "-X main.version={version}/{number}", Rename: map[string]string{"server": "tinyd"},
}

const works = "package main\n\nfunc main() {}\n"

// events collects progress from several builders.
type events struct {
	mu   sync.Mutex
	list []Event
}

func (e *events) add(ev Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, ev)
}

func (e *events) count(p Phase) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, ev := range e.list {
		if ev.Phase == p {
			n++
		}
	}
	return n
}

func TestBuild(t *testing.T) {
	var seen events
	b := &Builder{CacheDir: t.TempDir(), Source: tiny(t, works), Recipes: []Recipe{tinyRecipe}, Progress: seen.add}
	if _, err := b.Path("hello"); err == nil || !strings.Contains(err.Error(), "nines engines build tiny") {
		t.Errorf("Path before the build: %v, want the command that builds it", err)
	}
	if err := b.Build(t.Context()); err != nil {
		t.Fatal(err)
	}
	hello, err := b.Path("hello")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(hello).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "v1.2.3/1.2.3" {
		t.Errorf("hello printed %q, %v; want the version from go.mod", out, err)
	}
	if _, err := b.Path("tinyd"); err != nil {
		t.Errorf("renamed program: %v", err)
	}
	if seen.count(Built) != 1 || seen.count(Linking) == 0 {
		t.Errorf("events %v, want one Built after Linking", seen.list)
	}
	for _, ev := range seen.list {
		if ev.Done > ev.Total {
			t.Errorf("event %+v compiled more than there is", ev)
		}
	}
	if err := b.Build(t.Context(), "tiny"); err != nil {
		t.Fatal(err)
	}
	if seen.count(Cached) != 1 || seen.count(Built) != 1 {
		t.Errorf("the second build was not taken from the cache: %v", seen.list)
	}
	if err := b.Build(t.Context(), "none"); err == nil || !strings.Contains(err.Error(), "there are tiny") {
		t.Errorf("unknown engine: %v, want the list of engines", err)
	}
}

func TestKeyFollowsFlags(t *testing.T) {
	source, cache := tiny(t, works), t.TempDir()
	other := tinyRecipe
	other.LDFlags = "-s"
	dirs := map[string]bool{}
	for _, r := range []Recipe{tinyRecipe, other} {
		b := &Builder{CacheDir: cache, Source: source, Recipes: []Recipe{r}}
		all, err := b.Catalog()
		if err != nil {
			t.Fatal(err)
		}
		s, err := b.Status(all[0])
		if err != nil {
			t.Fatal(err)
		}
		dirs[s.Dir] = true
	}
	if len(dirs) != 2 {
		t.Errorf("two sets of flags share a place in the cache: %v", dirs)
	}
}

// Two engines of one folder, each with some of its programs.
func TestSomeProgramsOfAFolder(t *testing.T) {
	some := Recipe{
		Name: "some", Folder: "tiny", Module: tinyRecipe.Module, Memory: 10, Only: []string{"hello"},
		Files: map[string]string{"settings": "cmd/hello/ignored.md"},
	}
	rest := Recipe{Name: "rest", Folder: "tiny", Module: tinyRecipe.Module, Memory: 10, Rename: tinyRecipe.Rename, Only: []string{"tinyd"}}
	b := &Builder{CacheDir: t.TempDir(), Source: tiny(t, works), Recipes: []Recipe{some, rest}}
	if err := b.Build(t.Context(), "rest"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Path("tinyd"); err != nil {
		t.Error(err)
	}
	for _, look := range []func(string) (string, error){b.Path, b.File} {
		for _, name := range []string{"hello", "settings"} {
			if path, err := look(name); err == nil {
				t.Errorf("%s was built without being asked for: %s", name, path)
			}
		}
	}
	if err := b.Build(t.Context(), "some"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Path("hello"); err != nil {
		t.Error(err)
	}
	file, err := b.File("settings")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	if _, err := b.File("none"); err == nil || !strings.Contains(err.Error(), `no engine has a file "none"`) {
		t.Errorf("an unknown file: %v", err)
	}
	entries, err := os.ReadDir(filepath.Join(filepath.Dir(filepath.Dir(file)), "bin"))
	if err != nil || len(entries) != 1 {
		t.Errorf("the engine has %d programs, %v; want its own alone", len(entries), err)
	}
	b.Recipes[0].Only = []string{"hello", "missing"}
	if _, err := b.Catalog(); err == nil || !strings.Contains(err.Error(), "hello, missing") {
		t.Errorf("a program that the folder does not have: %v", err)
	}
}

func TestFailedCompile(t *testing.T) {
	b := &Builder{CacheDir: t.TempDir(), Source: tiny(t, "package main\n\nfunc main() { nonsense() }\n"), Recipes: []Recipe{tinyRecipe}}
	err := b.Build(t.Context())
	if err == nil {
		t.Fatal("a program that does not compile was built")
	}
	for _, want := range []string{"undefined: nonsense", "repeat it with: cd ", "CGO_ENABLED=0 go build -trimpath"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
	_, command, _ := strings.Cut(err.Error(), "repeat it with: ")
	out, runErr := exec.Command("sh", "-c", command).CombinedOutput()
	if runErr == nil || !strings.Contains(string(out), "undefined: nonsense") {
		t.Errorf("the pasted command %q gave %v:\n%s", command, runErr, out)
	}
	left, _ := filepath.Glob(filepath.Join(b.CacheDir, "engines", "tiny", "*"))
	for _, l := range left {
		if filepath.Base(l) != "lock" {
			t.Errorf("a failed build left %s", l)
		}
	}
}

func TestTwoBuildersAtOnce(t *testing.T) {
	source, cache := tiny(t, works), t.TempDir()
	dir := filepath.Join(cache, "engines", "tiny")
	unlock, err := lock(t.Context(), dir, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	var seen events
	waiting := make(chan struct{}, 2)
	done := make(chan error, 2)
	for range 2 {
		b := &Builder{CacheDir: cache, Source: source, Recipes: []Recipe{tinyRecipe}, Progress: func(ev Event) {
			seen.add(ev)
			if ev.Phase == Waiting {
				waiting <- struct{}{}
			}
		}}
		go func() { done <- b.Build(t.Context()) }()
	}
	// Both wait for this test, so that they certainly meet; then one of them
	// has to wait for the other.
	<-waiting
	<-waiting
	unlock()
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if seen.count(Built) != 1 || seen.count(Cached) != 1 {
		t.Errorf("built %d times and taken %d times, want once each", seen.count(Built), seen.count(Cached))
	}
}

func TestStoppedWhileWaiting(t *testing.T) {
	source, cache := tiny(t, works), t.TempDir()
	unlock, err := lock(t.Context(), filepath.Join(cache, "engines", "tiny"), func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	b := &Builder{CacheDir: cache, Source: source, Recipes: []Recipe{tinyRecipe}, Progress: func(ev Event) {
		if ev.Phase == Waiting {
			cancel()
		}
	}}
	if err := b.Build(ctx); err == nil || !strings.Contains(err.Error(), "wait for the other build") {
		t.Errorf("stopped build returned %v", err)
	}
}

func TestLeftStagingIsRemoved(t *testing.T) {
	b := &Builder{CacheDir: t.TempDir(), Source: tiny(t, works), Recipes: []Recipe{tinyRecipe}}
	left := filepath.Join(b.CacheDir, "engines", "tiny", ".staging-dead", "bin")
	if err := os.MkdirAll(left, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := b.Build(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("what a dead build left is still there: %v", err)
	}
}
