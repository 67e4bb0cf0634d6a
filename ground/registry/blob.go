package registry

import (
	"errors"
	"net/http"
	"time"

	"github.com/nines-ha/nines/ground/image"
)

func (r *Registry) blob(w http.ResponseWriter, req *http.Request, text string) error {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		return &failure{http.StatusMethodNotAllowed, "UNSUPPORTED", req.Method + " of a blob is not supported"}
	}
	digest, err := digestOf(text)
	if err != nil {
		return err
	}
	f, _, err := r.store.Blob(digest)
	if errors.Is(err, image.ErrNotFound) {
		return &failure{http.StatusNotFound, "BLOB_UNKNOWN", "no blob " + digest.String()}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", digest.String())
	w.Header().Set("Etag", `"`+digest.String()+`"`)
	http.ServeContent(w, req, "", time.Time{}, f)
	return nil
}
