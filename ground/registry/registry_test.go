package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"go.uber.org/goleak"

	"github.com/nines-ha/nines/ground/image"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a registry on loopback and returns its address.
func serve(t *testing.T, dir string, catalogue Catalogue) (*Registry, string) {
	t.Helper()
	r, err := New(dir, catalogue, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(r)
	t.Cleanup(func() {
		server.Close()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return r, strings.TrimPrefix(server.URL, "http://")
}

func transport(t *testing.T) remote.Option {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return remote.WithTransport(tr)
}

func randomImage(t *testing.T) v1.Image {
	t.Helper()
	img, err := random.Image(1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func digest(t *testing.T, img interface{ Digest() (v1.Hash, error) }) v1.Hash {
	t.Helper()
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func reference(t *testing.T, text string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(text)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestPushAndPull(t *testing.T) {
	dir := t.TempDir()
	_, addr := serve(t, dir, Catalogue{})
	client := transport(t)
	img := randomImage(t)
	ref := reference(t, addr+"/fleet/vehicle:one")
	if err := remote.Write(ref, img, client); err != nil {
		t.Fatal(err)
	}
	for _, r := range []string{addr + "/fleet/vehicle:one", addr + "/fleet/vehicle@" + digest(t, img).String()} {
		got, err := remote.Image(reference(t, r), client)
		if err != nil {
			t.Fatalf("pull %s: %v", r, err)
		}
		if digest(t, got) != digest(t, img) {
			t.Errorf("pulled %s, pushed %s", digest(t, got), digest(t, img))
		}
		layers, err := got.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range layers {
			r, err := l.Compressed()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, r); err != nil {
				t.Errorf("layer: %v", err)
			}
			r.Close()
		}
	}
	tags, err := remote.List(ref.Context(), client)
	if err != nil || len(tags) != 1 || tags[0] != "one" {
		t.Errorf("tags %v, %v; want [one]", tags, err)
	}

	// What was pushed has to outlive the process, under its local name.
	_, again := serve(t, dir, Catalogue{})
	got, err := remote.Image(reference(t, again+"/fleet/vehicle:one"), client)
	if err != nil || digest(t, got) != digest(t, img) {
		t.Errorf("after a restart: %v", err)
	}
	store, err := image.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := store.Lookup("registry.local/fleet/vehicle:one"); err != nil || e.Digest != digest(t, img) {
		t.Errorf("the store knows it as %+v, %v", e, err)
	}
}

func TestPushIndex(t *testing.T) {
	_, addr := serve(t, t.TempDir(), Catalogue{})
	client := transport(t)
	index, err := random.Index(500, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	ref := reference(t, addr+"/multi:1")
	if err := remote.WriteIndex(ref, index, client); err != nil {
		t.Fatal(err)
	}
	got, err := remote.Index(ref, client)
	if err != nil || digest(t, got) != digest(t, index) {
		t.Errorf("pull the index: %v", err)
	}
}

func TestIncompletePushIsRefused(t *testing.T) {
	_, addr := serve(t, t.TempDir(), Catalogue{})
	text, err := randomImage(t).RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, kind, body, want string }{
		{"no blobs", "application/vnd.docker.distribution.manifest.v2+json", string(text), "push it first"},
		{"not json", "application/vnd.oci.image.manifest.v1+json", "{", "MANIFEST_INVALID"},
		{"other type", "text/html", "x", "not taken"},
	} {
		status, body := do(t, http.MethodPut, "http://"+addr+"/v2/a/manifests/1", c.kind, c.body)
		if status != http.StatusBadRequest || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %s, want 400 and %q", c.name, status, body, c.want)
		}
	}
}

func do(t *testing.T, method, url, kind, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestBadRequests(t *testing.T) {
	_, addr := serve(t, t.TempDir(), Catalogue{})
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/v2/", 200},
		{"GET", "/v2/UPPER/manifests/1", 400},
		{"GET", "/v2/..%2f..%2fetc/manifests/1", 400},
		{"GET", "/v2/a/manifests/sha256:short", 400},
		{"GET", "/v2/a/manifests/-bad", 400},
		{"GET", "/v2/a/blobs/sha256:" + strings.Repeat("0", 64), 404},
		{"GET", "/v2/a/manifests/none", 404},
		{"GET", "/v2/a/manifests/none?ns=ex%20ample", 400},
		{"DELETE", "/v2/a/manifests/none", 405},
		{"PATCH", "/v2/a/blobs/uploads/none", 404},
		{"GET", "/v2/a/tags/list", 404},
		{"GET", "/elsewhere", 404},
	} {
		if got, body := do(t, c.method, "http://"+addr+c.path, "", ""); got != c.want {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, got, body, c.want)
		}
	}
}

func TestUploadWithWrongDigest(t *testing.T) {
	_, addr := serve(t, t.TempDir(), Catalogue{})
	url := "http://" + addr + "/v2/a/blobs/uploads/?digest=sha256:" + strings.Repeat("0", 64)
	if status, body := do(t, http.MethodPost, url, "application/octet-stream", "text"); status != 400 || !strings.Contains(body, "DIGEST_INVALID") {
		t.Errorf("a blob under another digest: %d %s", status, body)
	}
}

func TestPullOnly(t *testing.T) {
	r, _ := serve(t, t.TempDir(), Catalogue{})
	server := httptest.NewServer(PullOnly(r))
	defer server.Close()
	if status, _ := do(t, http.MethodPost, server.URL+"/v2/a/blobs/uploads/", "", ""); status != http.StatusMethodNotAllowed {
		t.Errorf("a push to a pull-only address: %d", status)
	}
	if status, _ := do(t, http.MethodGet, server.URL+"/v2/", "", ""); status != http.StatusOK {
		t.Errorf("a pull from a pull-only address: %d", status)
	}
}

// making is a catalogue of one image that takes as long as the test wants.
type making struct {
	dir     string
	img     v1.Image
	calls   atomic.Int32
	release chan struct{}
	err     error
}

const upstream = "quay.example/team/app:v1"

func (m *making) catalogue() Catalogue {
	return Catalogue{
		References: func() []string { return []string{upstream} },
		Provide: func(ctx context.Context, ref string) error {
			if ref != upstream {
				return fmt.Errorf("%s: %w", ref, image.ErrNotFound)
			}
			m.calls.Add(1)
			select {
			case <-m.release:
			case <-ctx.Done():
				return ctx.Err()
			}
			if m.err != nil {
				return m.err
			}
			store, err := image.Open(m.dir)
			if err != nil {
				return err
			}
			_, err = store.Put(ref, m.img)
			return err
		},
	}
}

func TestCatalogueMakesOnce(t *testing.T) {
	m := &making{dir: t.TempDir(), img: randomImage(t), release: make(chan struct{})}
	r, addr := serve(t, m.dir, m.catalogue())
	// Each request waits a moment only, so clients are sent to ask again.
	r.hold = 20 * time.Millisecond
	type answer struct {
		status int
		digest string
	}
	answers := make(chan answer)
	const clients = 5
	first := make(chan struct{}, 100)
	for range clients {
		go func() {
			c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
				select {
				case first <- struct{}{}:
				default:
				}
				return nil
			}, Transport: &http.Transport{DisableKeepAlives: true}}
			for {
				resp, err := c.Head("http://" + addr + "/v2/team/app/manifests/v1?ns=quay.example")
				if err != nil {
					answers <- answer{digest: err.Error()}
					return
				}
				resp.Body.Close()
				if resp.StatusCode == http.StatusForbidden {
					continue // still being made: what kubelet does after a pause
				}
				answers <- answer{resp.StatusCode, resp.Header.Get("Docker-Content-Digest")}
				return
			}
		}()
	}
	<-first
	if n := m.calls.Load(); n != 1 {
		t.Errorf("while it was being made the catalogue was asked %d times", n)
	}
	close(m.release)
	for range clients {
		if a := <-answers; a.status != 200 || a.digest != digest(t, m.img).String() {
			t.Errorf("a client got %+v", a)
		}
	}
}

func TestFailureReachesTheClientOnce(t *testing.T) {
	m := &making{dir: t.TempDir(), release: make(chan struct{}), err: errors.New("undefined: nonsense")}
	close(m.release)
	_, addr := serve(t, m.dir, m.catalogue())
	for range 2 {
		status, body := do(t, http.MethodGet, "http://"+addr+"/v2/team/app/manifests/v1?ns=quay.example", "", "")
		if status != http.StatusForbidden || !strings.Contains(body, "undefined: nonsense") {
			t.Errorf("%d %s, want 403 with the compiler's words", status, body)
		}
	}
	if n := m.calls.Load(); n != 1 {
		t.Errorf("the image was tried %d times in a row", n)
	}
}

func TestCloseStopsMaking(t *testing.T) {
	m := &making{dir: t.TempDir(), release: make(chan struct{})}
	r, addr := serve(t, m.dir, m.catalogue())
	r.hold = time.Millisecond
	c := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DisableKeepAlives: true},
	}
	resp, err := c.Get("http://" + addr + "/v2/team/app/manifests/v1?ns=quay.example")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusTemporaryRedirect || !strings.Contains(resp.Header.Get("Location"), "held=1") {
		t.Errorf("a client that waited: %s %s", resp.Status, resp.Header.Get("Location"))
	}
	if err := r.Close(); err != nil { // hangs if the work goes on
		t.Fatal(err)
	}
}

func TestUnknownListsTheLikelyFirst(t *testing.T) {
	dir := t.TempDir()
	var many []string
	for i := range 30 {
		many = append(many, fmt.Sprintf("a.example/x%02d:1", i))
	}
	_, addr := serve(t, dir, Catalogue{References: func() []string { return append(many, "quay.example/team/app:v1") }})
	status, body := do(t, http.MethodGet, "http://"+addr+"/v2/team/app/manifests/v2?ns=quay.example", "", "")
	if status != http.StatusForbidden {
		t.Errorf("status %d, want 403", status)
	}
	for _, want := range []string{
		"has no image quay.example/team/app:v2;", "it has: quay.example/team/app:v1, a.example/x00:1", "and 19 more", "nines images load",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the refusal lacks %q: %s", want, body)
		}
	}
	if len(body) > 1000 {
		t.Errorf("the refusal has %d characters; a Kubernetes event cuts at 1024", len(body))
	}
}

func TestDockerHubNames(t *testing.T) {
	dir := t.TempDir()
	store, err := image.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	img := mutate.Annotations(randomImage(t), map[string]string{"x": "y"}).(v1.Image)
	if _, err := store.Put("redis:7", img); err != nil {
		t.Fatal(err)
	}
	_, addr := serve(t, dir, Catalogue{})
	if status, body := do(t, http.MethodGet, "http://"+addr+"/v2/library/redis/manifests/7?ns=docker.io", "", ""); status != 200 {
		t.Errorf("redis:7 as containerd asks for it: %d %s", status, body)
	}
}
