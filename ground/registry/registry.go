package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/singleflight"

	"github.com/nines-ha/nines/ground/image"
)

const (
	// Local is the host of images that are pushed here and exist nowhere else.
	Local = "registry.local"
	// provideLimit bounds making one image, its engine's compile included.
	provideLimit = 100 * time.Minute
	// holdRequest is under the 30 s that containerd waits for an answer to
	// begin, and maxHolds under the ten redirects it follows.
	holdRequest = 20 * time.Second
	maxHolds    = 8
	maxManifest = 4 << 20
	maxUpload   = 16 << 30
	maxUploads  = 64
)

// Catalogue makes the images of upstream references. It is a struct of
// functions so that the process that serves need not be the one that makes.
type Catalogue struct {
	// References lists what can be made.
	References func() []string
	// Provide puts the image of a full reference into the store unless it is
	// there; an error that is image.ErrNotFound means that it cannot be made.
	Provide func(ctx context.Context, reference string) error
}

// Registry is an http.Handler for the distribution protocol. Its methods may
// be called from several goroutines.
type Registry struct {
	store     *image.Store
	catalogue Catalogue
	log       *slog.Logger

	hold    time.Duration // how long one request waits for an image
	making  singleflight.Group
	done    context.Context // ended by Close
	end     context.CancelFunc
	workers sync.WaitGroup

	mu      sync.Mutex
	uploads map[string]*upload
	refused map[string]refusal // by full reference, of the catalogue only
}

// New serves the image store in dir. The catalogue may be empty.
func New(dir string, catalogue Catalogue, log *slog.Logger) (*Registry, error) {
	store, err := image.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("start the registry: %w", err)
	}
	r := &Registry{store: store, catalogue: catalogue, log: log, hold: holdRequest, uploads: map[string]*upload{}, refused: map[string]refusal{}}
	r.done, r.end = context.WithCancel(context.Background())
	return r, nil
}

// Close stops making images and forgets uploads that were not finished. Call
// it after the HTTP server has stopped.
func (r *Registry) Close() error {
	r.mu.Lock()
	r.end()
	r.mu.Unlock()
	r.workers.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, u := range r.uploads {
		u.blob.Abort()
		delete(r.uploads, id)
	}
	return nil
}

var (
	namePattern = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	route       = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs|tags)/(.+)$`)
)

func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	err := r.serve(w, req)
	if err == nil {
		r.log.Debug("served", "method", req.Method, "url", req.URL.String())
		return
	}
	var again *stillMaking
	if errors.As(err, &again) {
		http.Redirect(w, req, again.location, http.StatusTemporaryRedirect)
		return
	}
	var f *failure
	if !errors.As(err, &f) {
		f = &failure{http.StatusInternalServerError, "UNKNOWN", err.Error()}
	}
	r.log.Info("refused", "method", req.Method, "url", req.URL.String(), "status", f.status, "error", f.message)
	f.write(w, req)
}

func (r *Registry) serve(w http.ResponseWriter, req *http.Request) error {
	if req.URL.Path == "/v2/" || req.URL.Path == "/v2" {
		w.Header().Set("Content-Type", "application/json")
		_, err := io.WriteString(w, "{}")
		return err
	}
	parts := route.FindStringSubmatch(req.URL.Path)
	if parts == nil {
		return &failure{http.StatusNotFound, "UNSUPPORTED", "no such address in the distribution protocol: " + req.URL.Path}
	}
	repo, kind, rest := parts[1], parts[2], parts[3]
	if !namePattern.MatchString(repo) || len(repo) > 255 {
		return &failure{http.StatusBadRequest, "NAME_INVALID", fmt.Sprintf("%q is not the name of a repository", repo)}
	}
	target, err := targetOf(req, repo)
	if err != nil {
		return err
	}
	switch {
	case kind == "manifests":
		return r.manifest(w, req, target, rest)
	case kind == "tags" && rest == "list":
		return r.tags(w, req, target)
	case kind == "blobs" && strings.HasPrefix(rest, "uploads"):
		return r.upload(w, req, target, strings.TrimPrefix(strings.TrimPrefix(rest, "uploads"), "/"))
	case kind == "blobs":
		return r.blob(w, req, rest)
	}
	return &failure{http.StatusNotFound, "UNSUPPORTED", "no such address in the distribution protocol: " + req.URL.Path}
}

// target is the repository a request is about.
type target struct {
	host, repo string
	mirrored   bool // asked of us in place of host
}

// targetOf reads the host from ?ns=, where containerd puts the one it was
// asked for; without it the repository is one of ours.
func targetOf(req *http.Request, repo string) (target, error) {
	ns := req.URL.Query().Get("ns")
	if ns == "" {
		return target{host: Local, repo: repo}, nil
	}
	if _, err := name.NewRegistry(ns); err != nil {
		return target{}, &failure{http.StatusBadRequest, "NAME_INVALID", fmt.Sprintf("ns=%q is not a registry's host", ns)}
	}
	return target{host: ns, repo: repo, mirrored: true}, nil
}

func (t target) tagged(tag string) (string, error) {
	return image.Reference(t.host + "/" + t.repo + ":" + tag)
}

func digestOf(text string) (v1.Hash, error) {
	digest, err := v1.NewHash(text)
	if err != nil {
		return digest, &failure{http.StatusBadRequest, "DIGEST_INVALID", err.Error()}
	}
	return digest, nil
}
