package registry

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

	t.Run("has or has not", func(t *testing.T) { testAnswers(t, client) })
	t.Run("waits", func(t *testing.T) { testWaits(t, client) })
}

func testAnswers(t *testing.T, client string) {
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
	certs := certsFor(t, addr)
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

// testWaits pulls an image that is being made for longer than the client would
// wait for one answer.
func testWaits(t *testing.T, client string) {
	m := &making{dir: t.TempDir(), img: randomImage(t), release: make(chan struct{})}
	r, _ := serve(t, m.dir, m.catalogue())
	r.hold = time.Millisecond
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Query().Get("held") == "3" {
			close(m.release)
			r.hold = time.Minute // the requests of one pull come one by one
		}
		r.ServeHTTP(w, req)
	}))
	defer server.Close()
	out, err := exec.CommandContext(t.Context(), client, certsFor(t, server.Listener.Addr().String()), upstream).CombinedOutput()
	if err != nil || !strings.Contains(string(out), digest(t, m.img).String()) {
		t.Errorf("pull: %v\n%s", err, out)
	}
}

// certsFor is the certs.d directory of a node.
func certsFor(t *testing.T, addr string) string {
	t.Helper()
	certs := t.TempDir()
	if err := os.MkdirAll(filepath.Join(certs, "_default"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(certs, "_default", "hosts.toml"), []byte(HostsTOML(addr)), 0o644); err != nil {
		t.Fatal(err)
	}
	return certs
}
