package registry

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nines-ha/nines/ground/image"
)

// TestContainerdClient pulls with the client code of the containerd that nodes
// run, configured as nodes are. A status other than 403 would lose the words.
func TestContainerdClient(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles a client")
	}
	engine, err := filepath.Abs("../../engines/containerd")
	if err != nil {
		t.Fatal(err)
	}
	source, err := filepath.Abs("testdata/pull/main.go")
	if err != nil {
		t.Fatal(err)
	}
	client := filepath.Join(t.TempDir(), "pull")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", client, source)
	build.Dir = engine
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("compile the client: %v\n%s", err, out)
	}

	dir := t.TempDir()
	store, err := image.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	img := randomImage(t)
	if _, err := store.Put(upstream, img); err != nil {
		t.Fatal(err)
	}
	_, addr := serve(t, dir, Catalogue{})
	certs := t.TempDir()
	if err := os.MkdirAll(filepath.Join(certs, "_default"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(certs, "_default", "hosts.toml"), []byte(HostsTOML(addr)), 0o644); err != nil {
		t.Fatal(err)
	}
	want := digest(t, img).String()
	for _, c := range []struct {
		ref, says string
		fails     bool
	}{
		{ref: upstream, says: want},
		{ref: "quay.example/team/app@" + want, says: want},
		{ref: "docker.io/library/nginx:1.27", says: "the ground has no image docker.io/library/nginx:1.27; bring it with: nines images load FILE; it has: " + upstream, fails: true},
		{ref: "docker.io/library/nginx@sha256:" + strings.Repeat("0", 64), says: "has no image docker.io/library/nginx@sha256:", fails: true},
	} {
		out, err := exec.CommandContext(t.Context(), client, certs, c.ref).CombinedOutput()
		if (err != nil) != c.fails || !strings.Contains(string(out), c.says) {
			t.Errorf("pull %s: %v\n%s\nwant %q", c.ref, err, out, c.says)
		}
	}
}
