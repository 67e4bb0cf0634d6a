package registry

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nines-ha/nines/ground/image"
)

// uploadIdle is how long an upload may rest before it is forgotten.
const uploadIdle = 10 * time.Minute

// upload is a blob being pushed in one or more requests.
type upload struct {
	mu   sync.Mutex // held by the request that writes
	blob *image.Upload
	used time.Time // guarded by Registry.mu
}

func (r *Registry) upload(w http.ResponseWriter, req *http.Request, t target, id string) error {
	if id == "" {
		if req.Method != http.MethodPost {
			return &failure{http.StatusMethodNotAllowed, "UNSUPPORTED", req.Method + " of uploads is not supported"}
		}
		return r.beginUpload(w, req, t)
	}
	r.mu.Lock()
	u, ok := r.uploads[id]
	if ok {
		u.used = time.Now()
	}
	r.mu.Unlock()
	if !ok {
		return &failure{http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "no upload " + id + "; begin again"}
	}
	if !u.mu.TryLock() {
		return &failure{http.StatusConflict, "BLOB_UPLOAD_INVALID", "another request writes upload " + id}
	}
	defer u.mu.Unlock()
	switch req.Method {
	case http.MethodGet:
		location(w, t, id, u.blob.Size())
		w.WriteHeader(http.StatusNoContent)
		return nil
	case http.MethodPatch:
		if err := r.receive(u, req); err != nil {
			r.forget(id, u)
			return err
		}
		location(w, t, id, u.blob.Size())
		w.WriteHeader(http.StatusAccepted)
		return nil
	case http.MethodPut:
		defer r.forget(id, u)
		if err := r.receive(u, req); err != nil {
			return err
		}
		return commit(w, req, t, u.blob)
	case http.MethodDelete:
		r.forget(id, u)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return &failure{http.StatusMethodNotAllowed, "UNSUPPORTED", req.Method + " of an upload is not supported"}
}

func (r *Registry) beginUpload(w http.ResponseWriter, req *http.Request, t target) error {
	// Blobs are shared by all repositories, so a mount is a look-up.
	if mount := req.URL.Query().Get("mount"); mount != "" {
		if digest, err := v1.NewHash(mount); err == nil {
			if f, _, err := r.store.Blob(digest); err == nil {
				f.Close()
				created(w, t, digest)
				return nil
			}
		}
	}
	blob, err := r.store.Upload()
	if err != nil {
		return err
	}
	u := &upload{blob: blob, used: time.Now()}
	if req.URL.Query().Has("digest") {
		if err := r.receive(u, req); err != nil {
			blob.Abort()
			return err
		}
		return commit(w, req, t, blob)
	}
	id := rand.Text()
	r.mu.Lock()
	r.expire()
	full := len(r.uploads) >= maxUploads
	if !full {
		r.uploads[id] = u
	}
	r.mu.Unlock()
	if full {
		blob.Abort()
		w.Header().Set("Retry-After", "5")
		return &failure{http.StatusTooManyRequests, "TOOMANYREQUESTS", fmt.Sprintf("%d uploads are open; try again", maxUploads)}
	}
	location(w, t, id, 0)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// expire forgets uploads nobody goes on with; call it with mu held.
func (r *Registry) expire() {
	for id, u := range r.uploads {
		if time.Since(u.used) > uploadIdle && u.mu.TryLock() {
			u.blob.Abort()
			u.mu.Unlock()
			delete(r.uploads, id)
		}
	}
}

func (r *Registry) receive(u *upload, req *http.Request) error {
	left := maxUpload - u.blob.Size()
	n, err := io.Copy(u.blob, io.LimitReader(req.Body, left+1))
	if err != nil {
		return &failure{http.StatusBadRequest, "BLOB_UPLOAD_INVALID", fmt.Sprintf("receive the blob: %v", err)}
	}
	if n > left {
		return &failure{http.StatusRequestEntityTooLarge, "SIZE_INVALID", fmt.Sprintf("a blob of more than %d bytes is not taken", int64(maxUpload))}
	}
	return nil
}

// forget removes an upload; its blob is gone unless it was committed.
func (r *Registry) forget(id string, u *upload) {
	r.mu.Lock()
	delete(r.uploads, id)
	r.mu.Unlock()
	u.blob.Abort()
}

func commit(w http.ResponseWriter, req *http.Request, t target, blob *image.Upload) error {
	want, err := digestOf(req.URL.Query().Get("digest"))
	if err != nil {
		blob.Abort()
		return err
	}
	digest, _, err := blob.Commit(want)
	if err != nil {
		return &failure{http.StatusBadRequest, "DIGEST_INVALID", err.Error()}
	}
	created(w, t, digest)
	return nil
}

func created(w http.ResponseWriter, t target, digest v1.Hash) {
	w.Header().Set("Docker-Content-Digest", digest.String())
	w.Header().Set("Location", "/v2/"+t.repo+"/blobs/"+digest.String())
	w.WriteHeader(http.StatusCreated)
}

func location(w http.ResponseWriter, t target, id string, size int64) {
	w.Header().Set("Location", "/v2/"+t.repo+"/blobs/uploads/"+id)
	w.Header().Set("Docker-Upload-Uuid", id)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(0, size-1)))
}
