package git

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nines-ha/nines/internal/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	writes = "secret-of-the-writer"
	reads  = "secret-of-the-reader"
)

// lines is a log that several may write to.
type lines struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.String()
}

// host is a server on loopback with an empty repository, and its clients.
type host struct {
	*server
	t       *testing.T
	log     *lines
	url     string
	ca      string // file
	roots   *x509.CertPool
	project string // folder of the repository
}

func newHost(t *testing.T, set func(*server)) *host {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Fatal("git is not installed; run: make packages")
	}
	h := &host{t: t, log: &lines{}, project: t.TempDir()}
	repository := filepath.Join(h.project, Repository)
	if out, err := exec.Command("git", "init", "--quiet", "--bare", "--template=", "--initial-branch="+Branch, repository).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	config, err := os.OpenFile(filepath.Join(repository, "config"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := config.WriteString(gitConfig); err != nil {
		t.Fatal(err)
	}
	config.Close()
	ca, err := pki.New("test")
	if err != nil {
		t.Fatal(err)
	}
	issued, err := ca.Issue(pki.Subject{Name: "test", Hosts: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := issued.TLS()
	if err != nil {
		t.Fatal(err)
	}
	h.ca, h.roots = filepath.Join(t.TempDir(), "ca.crt"), x509.NewCertPool()
	h.roots.AppendCertsFromPEM(ca.PEM)
	if err := os.WriteFile(h.ca, ca.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	h.server = newServer(h.project, []user{
		{Name: Writer, Digest: sha256.Sum256([]byte(writes)), Writes: true},
		{Name: Reader, Digest: sha256.Sum256([]byte(reads))},
	}, slog.New(slog.NewTextHandler(h.log, nil)))
	if set != nil {
		set(h.server)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.url = "https://" + l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.serve(ctx, l, pair) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("it ended with %v", err)
		}
		for _, secret := range []string{writes, reads, "d3JpdGVy", "mistyped"} {
			if strings.Contains(h.log.String(), secret) {
				t.Errorf("the log holds %q:\n%s", secret, h.log)
			}
		}
	})
	return h
}

// git runs the program as a user, and gives all it says.
func (h *host) git(dir, user, password string, args ...string) (string, error) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", append([]string{
		"-c", "http.sslCAInfo=" + h.ca, "-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "init.defaultBranch=main",
		"-c", `credential.helper=!f() { echo username="$TEST_USER"; echo password="$TEST_PASSWORD"; }; f`,
	}, args...)...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + h.project, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C",
		"TEST_USER=" + user, "TEST_PASSWORD=" + password,
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (h *host) must(dir, user, password string, args ...string) string {
	h.t.Helper()
	out, err := h.git(dir, user, password, args...)
	if err != nil {
		h.t.Fatalf("git %s: %v\n%s\nlog:\n%s", strings.Join(args, " "), err, out, h.log)
	}
	return out
}

// clone gives a work tree of the writer's.
func (h *host) clone() string {
	h.t.Helper()
	dir := filepath.Join(h.t.TempDir(), "clone")
	h.must("/", Writer, writes, "clone", "--quiet", h.url+Path, dir)
	return dir
}

func (h *host) commit(dir, file string, body []byte) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(dir, file), body, 0o600); err != nil {
		h.t.Fatal(err)
	}
	h.must(dir, "", "", "add", ".")
	h.must(dir, "", "", "commit", "--quiet", "--message", "add "+file)
}

// head is what the repository has on its branch, "" for nothing.
func (h *host) head() string {
	out, _ := exec.Command("git", "--git-dir", filepath.Join(h.project, Repository), "rev-parse", "--quiet", "--verify", "refs/heads/"+Branch).Output()
	return strings.TrimSpace(string(out))
}

func noise(n int) []byte {
	b := make([]byte, n)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(b)
	return b
}

func TestCloneAndPush(t *testing.T) {
	h := newHost(t, nil)
	dir := h.clone()
	h.commit(dir, "small", []byte("small\n"))
	h.must(dir, Writer, writes, "push", "--quiet", "origin", "main")
	// More than git keeps in its buffer goes in pieces of no known length.
	h.commit(dir, "large", noise(1<<20))
	h.must(dir, Writer, writes, "-c", "http.postBuffer=65536", "push", "--quiet", "origin", "main")
	if want := strings.TrimSpace(h.must(dir, "", "", "rev-parse", "HEAD")); h.head() != want {
		t.Errorf("the repository is at %q, want %s", h.head(), want)
	}
	for _, who := range [][2]string{{Writer, writes}, {Reader, reads}} {
		other := filepath.Join(t.TempDir(), "other")
		h.must("/", who[0], who[1], "clone", "--quiet", h.url+Path, other)
		if body, err := os.ReadFile(filepath.Join(other, "large")); err != nil || !bytes.Equal(body, noise(1<<20)) {
			t.Errorf("%s reads %d bytes, %v", who[0], len(body), err)
		}
	}
	if text := h.log.String(); !strings.Contains(text, "user=argocd") || !strings.Contains(text, "service=git-receive-pack status=200") {
		t.Errorf("the log does not say who did what:\n%s", text)
	}
}

func TestPushIsRefused(t *testing.T) {
	h := newHost(t, nil)
	dir := h.clone()
	h.commit(dir, "first", []byte("first\n"))
	h.commit(dir, "second", []byte("second\n"))
	h.must(dir, Writer, writes, "push", "--quiet", "origin", "main")
	before := h.head()
	h.commit(dir, "third", []byte("third\n"))
	for _, test := range []struct {
		what, user, password, want string
		args                       []string
	}{
		{"of the reader", Reader, reads, "403", []string{"push", "origin", "main"}},
		{"with a wrong password", Writer, "mistyped", "Authentication failed", []string{"push", "origin", "main"}},
		{"of nobody", "nobody", writes, "Authentication failed", []string{"push", "origin", "main"}},
		{"that takes back", Writer, writes, "non-fast-forward", []string{"push", "--force", "origin", "main~2:main"}},
		{"that deletes", Writer, writes, "deletion prohibited", []string{"push", "origin", ":main"}},
		{"to another repository", Writer, writes, "not found", []string{"push", h.url + "/other.git", "main"}},
	} {
		if out, err := h.git(dir, test.user, test.password, test.args...); err == nil || !strings.Contains(out, test.want) {
			t.Errorf("a push %s: %v, want %q in\n%s", test.what, err, test.want, out)
		}
		if h.head() != before {
			t.Fatalf("a push %s moved the branch", test.what)
		}
	}
}

// What a power cut leaves would have every push refused.
func TestUnlock(t *testing.T) {
	h := newHost(t, nil)
	dir := h.clone()
	h.commit(dir, "first", []byte("first\n"))
	h.must(dir, Writer, writes, "push", "--quiet", "origin", "main")
	h.commit(dir, "second", []byte("second\n"))
	repository := filepath.Join(h.project, Repository)
	incoming := filepath.Join(repository, "objects", "tmp_objdir-incoming-x1")
	if err := os.MkdirAll(filepath.Join(incoming, "pack"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"refs/heads/main.lock", "packed-refs.lock", "gc.pid", "objects/maintenance.lock"} {
		if err := os.WriteFile(filepath.Join(repository, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := h.git(dir, Writer, writes, "push", "origin", "main"); err == nil {
		t.Fatalf("the locks do not matter:\n%s", out)
	}
	if err := unlock(repository); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(incoming); !os.IsNotExist(err) {
		t.Errorf("what came in half is still there: %v", err)
	}
	h.must(dir, Writer, writes, "push", "--quiet", "origin", "main")
	h.must(repository, "", "", "fsck", "--strict")
}

// get asks for a path as it is.
func (h *host) get(method, path, user, password string, body io.Reader) *http.Response {
	h.t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: h.roots}}
	req, err := http.NewRequest(method, h.url, body)
	if err != nil {
		h.t.Fatal(err)
	}
	before, query, _ := strings.Cut(path, "?")
	req.URL = &url.URL{Scheme: "https", Host: req.URL.Host, Opaque: before, RawQuery: query}
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, path, err)
	}
	resp.Body.Close()
	return resp
}

func TestAnswers(t *testing.T) {
	h := newHost(t, nil)
	if err := os.WriteFile(filepath.Join(h.project, "outside"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	const refs = "/platform.git/info/refs?service="
	for _, test := range []struct {
		method, path, user, password string
		want                         int
	}{
		{"GET", refs + uploadPack, Writer, writes, 200},
		{"GET", refs + uploadPack, Reader, reads, 200},
		{"GET", refs + receivePack, Writer, writes, 200},
		{"GET", refs + receivePack, Reader, reads, 403},
		{"POST", "/platform.git/git-receive-pack", Reader, reads, 403},
		{"GET", refs + uploadPack, "", "", 401},
		{"GET", refs + uploadPack, Reader, writes, 401},
		{"GET", refs + uploadPack, "nobody", reads, 401},
		{"GET", refs + uploadPack, Reader, "", 401},
		{"GET", "/", "", "", 401}, // who is nobody learns nothing
		{"GET", "/other.git/info/refs?service=git-upload-pack", Reader, reads, 404},
		{"GET", refs, Reader, reads, 404},
		{"GET", refs + "git-upload-archive", Reader, reads, 404},
		{"GET", refs + uploadPack + "&service=" + receivePack, Reader, reads, 404},
		{"POST", refs + uploadPack, Reader, reads, 404},
		{"GET", "/platform.git/HEAD", Reader, reads, 404},
		{"GET", "/platform.git/config", Writer, writes, 404},
		{"GET", "/platform.git/objects/info/packs", Reader, reads, 404},
		{"GET", "/platform.git/../outside", Reader, reads, 404},
		{"GET", "/platform.git/%2e%2e/outside", Reader, reads, 404},
		{"GET", "/../" + filepath.Base(h.project) + refs + uploadPack, Reader, reads, 404},
		{"GET", "/" + refs + uploadPack, Reader, reads, 404},
		{"GET", "/x/.." + refs + uploadPack, Reader, reads, 404},
		{"GET", "/platform.git/info/refs/?service=git-upload-pack", Reader, reads, 404},
	} {
		resp := h.get(test.method, test.path, test.user, test.password, nil)
		if resp.StatusCode != test.want {
			t.Errorf("%s %s of %q is answered %d, want %d", test.method, test.path, test.user, resp.StatusCode, test.want)
		}
		if asked := strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Basic "); asked != (test.want == 401) {
			t.Errorf("%s %s: WWW-Authenticate is %q", test.method, test.path, resp.Header.Get("WWW-Authenticate"))
		}
	}
}

func TestBodyIsBounded(t *testing.T) {
	h := newHost(t, func(s *server) { s.body = 128 << 10 })
	dir := h.clone()
	h.commit(dir, "large", noise(512<<10))
	out, err := h.git(dir, Writer, writes, "push", "origin", "main")
	if err == nil || !strings.Contains(out, "413") {
		t.Errorf("a body of a length that is too much: %v\n%s", err, out)
	}
	if out, err := h.git(dir, Writer, writes, "-c", "http.postBuffer=65536", "push", "origin", "main"); err == nil {
		t.Errorf("a body of no known length that is too much:\n%s", out)
	}
	if h.head() != "" {
		t.Error("what is too much was taken")
	}
	small := h.clone()
	h.commit(small, "small", []byte("small\n"))
	h.must(small, Writer, writes, "push", "--quiet", "origin", "main")
}

func TestTooManyAtOnce(t *testing.T) {
	h := newHost(t, func(s *server) { s.wait, s.slots = time.Millisecond, make(chan struct{}, 1) })
	h.slots <- struct{}{}
	resp := h.get("GET", "/platform.git/info/refs?service=git-upload-pack", Reader, reads, nil)
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("answered %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	<-h.slots
	if resp := h.get("GET", "/platform.git/info/refs?service=git-upload-pack", Reader, reads, nil); resp.StatusCode != http.StatusOK {
		t.Errorf("answered %d with a slot free", resp.StatusCode)
	}
}

func TestGitIsBounded(t *testing.T) {
	h := newHost(t, func(s *server) { s.git = 50 * time.Millisecond })
	programs := t.TempDir()
	if err := os.WriteFile(filepath.Join(programs, "git"), []byte("#!/bin/sh\nsleep 600 & wait\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", programs+":"+os.Getenv("PATH"))
	if resp := h.get("GET", "/platform.git/info/refs?service=git-upload-pack", Reader, reads, nil); resp.StatusCode != http.StatusInternalServerError {
		t.Errorf("answered %d by a git that hangs", resp.StatusCode)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	inner, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newNarrow(inner, 1)
	defer l.Close()
	dial := func() net.Conn {
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	dial()
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	refused := dial()
	next := make(chan net.Conn, 1)
	go func() { c, _ := l.Accept(); next <- c }()
	if _, err := refused.Read(make([]byte, 1)); err == nil {
		t.Error("a second connection is held")
	}
	first.Close()
	first.Close() // gives one slot back, not two
	dial()
	second := <-next
	defer second.Close()
	if len(l.slots) != 1 {
		t.Errorf("%d connections are counted", len(l.slots))
	}
}

// A client that says nothing more keeps nobody from the end.
func TestServeEnds(t *testing.T) {
	var conn *tls.Conn
	t.Cleanup(func() { conn.Close() }) // after the server's end
	h := newHost(t, func(s *server) { s.grace = 10 * time.Millisecond })
	var err error
	conn, err = tls.Dial("tcp4", strings.TrimPrefix(h.url, "https://"), &tls.Config{RootCAs: h.roots})
	if err != nil {
		t.Fatal(err)
	}
	if got := conn.ConnectionState().NegotiatedProtocol; got == "h2" {
		t.Errorf("it speaks %s", got)
	}
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\n")
}

func TestFilesForThisMachine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `a "quoted" 'place'`)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadOutside(dir); err != ErrNoFiles {
		t.Errorf("without files: %v", err)
	}
	ca, err := pki.New("test")
	if err != nil {
		t.Fatal(err)
	}
	h := New(Config{Part: "here/git", Host: "git.lab.example", Dir: dir})
	h.ca, h.passwords = ca, map[string]string{Writer: writes, Reader: reads}
	if err := h.Publish(7443, "/opt/it's/nines"); err != nil {
		t.Fatal(err)
	}
	o, err := ReadOutside(dir)
	if err != nil {
		t.Fatal(err)
	}
	if o.URL != "https://127.0.0.1:7443/platform.git" || o.Username != Writer || o.Password != writes || o.Remote != "https://git.lab.example/platform.git" || !bytes.Equal(o.CA, ca.PEM) {
		t.Errorf("read %+v", o)
	}
	files := 0
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		info, err := d.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the mode %v, %v", name, info.Mode(), err)
		}
		if body, err := os.ReadFile(name); err != nil || bytes.Contains(body, []byte(writes)) != (name == o.File) || bytes.Contains(body, []byte(reads)) {
			t.Errorf("%s holds a password it should not, or lacks one: %v", name, err)
		}
		return nil
	})
	if err != nil || files != 3 {
		t.Errorf("%d files, %v", files, err)
	}
	for key, want := range map[string]string{
		"url.https://127.0.0.1:7443/.insteadof":    "https://git.lab.example/",
		"http.https://127.0.0.1:7443/.sslcainfo":   o.CAFile,
		"credential.https://127.0.0.1:7443.helper": `!'/opt/it'\''s/nines' git credential --from '` + strings.ReplaceAll(dir, "'", `'\''`) + `'`,
		"http.https://127.0.0.1:7443/.proxy":       "",
	} {
		out, err := exec.Command("git", "config", "--file", o.Config, key).Output()
		if got := strings.TrimSuffix(string(out), "\n"); err != nil || got != want {
			t.Errorf("%s is %q, %v, want %q", key, got, err, want)
		}
	}
	if r := (&Host{config: Config{Host: "git.lab.example"}, ca: ca, passwords: h.passwords}).Reader(); r.URL != "https://git.lab.example/platform.git" || r.Username != Reader || r.Password != reads {
		t.Errorf("the reader has %+v", r)
	}
}
