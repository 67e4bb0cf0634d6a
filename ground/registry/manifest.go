package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nines-ha/nines/ground/image"
)

func (r *Registry) manifest(w http.ResponseWriter, req *http.Request, t target, ref string) error {
	switch req.Method {
	case http.MethodGet, http.MethodHead:
		return r.getManifest(w, req, t, ref)
	case http.MethodPut:
		return r.putManifest(w, req, t, ref)
	}
	return &failure{http.StatusMethodNotAllowed, "UNSUPPORTED", req.Method + " of a manifest is not supported"}
}

func (r *Registry) getManifest(w http.ResponseWriter, req *http.Request, t target, ref string) error {
	digest, err := r.resolve(req, t, ref)
	if err != nil {
		return err
	}
	text, kind, err := r.store.Manifest(digest)
	if errors.Is(err, image.ErrNotFound) {
		return r.unknown(t, t.host+"/"+t.repo+"@"+digest.String())
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", string(kind))
	w.Header().Set("Docker-Content-Digest", digest.String())
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	if req.Method == http.MethodGet {
		_, err = w.Write(text)
	}
	return err
}

// resolve finds the digest of a tag, making the image first if the catalogue
// can.
func (r *Registry) resolve(req *http.Request, t target, ref string) (v1.Hash, error) {
	if strings.Contains(ref, ":") {
		return digestOf(ref)
	}
	if !tagPattern.MatchString(ref) {
		return v1.Hash{}, &failure{http.StatusBadRequest, "TAG_INVALID", fmt.Sprintf("%q is not a tag", ref)}
	}
	full, err := t.tagged(ref)
	if err != nil {
		return v1.Hash{}, &failure{http.StatusBadRequest, "NAME_INVALID", err.Error()}
	}
	if err := r.provide(req, full); err != nil {
		var again *stillMaking
		if errors.As(err, &again) {
			return v1.Hash{}, err
		}
		// 403 is the one status whose words containerd passes on, see unknown.
		return v1.Hash{}, &failure{http.StatusForbidden, "DENIED", err.Error()}
	}
	entry, err := r.store.Lookup(full)
	if errors.Is(err, image.ErrNotFound) {
		return v1.Hash{}, r.unknown(t, full)
	}
	return entry.Digest, err
}

// maxListed keeps the list of images short enough for a Kubernetes event.
const maxListed = 12

// unknown refuses a reference that nobody has. To a node that asks in place of
// an upstream host it is a 403: after a failed HEAD containerd asks again with
// GET for that status only, and puts the body's words into the pull's error.
// Other clients get the protocol's own 404, which they take for "not yet".
func (r *Registry) unknown(t target, full string) error {
	if !t.mirrored {
		return &failure{http.StatusNotFound, "MANIFEST_UNKNOWN", "no image " + full}
	}
	var have []string
	if r.catalogue.References != nil {
		have = r.catalogue.References()
	}
	if entries, err := r.store.List(); err == nil {
		for _, e := range entries {
			have = append(have, e.Reference)
		}
	}
	slices.Sort(have)
	have = slices.Compact(have)
	// What differs in its tag only is the likely mistake, so it comes first.
	same := t.host + "/" + t.repo + ":"
	slices.SortStableFunc(have, func(a, b string) int {
		switch pa, pb := strings.HasPrefix(a, same), strings.HasPrefix(b, same); {
		case pa == pb:
			return 0
		case pa:
			return -1
		}
		return 1
	})
	more := ""
	if len(have) > maxListed {
		more = fmt.Sprintf(" and %d more (nines images list)", len(have)-maxListed)
		have = have[:maxListed]
	}
	list := "no images at all"
	if len(have) > 0 {
		list = strings.Join(have, ", ") + more
	}
	return &failure{http.StatusForbidden, "DENIED", fmt.Sprintf(
		"the ground has no image %s; bring it with: nines images load FILE; it has: %s", full, list)}
}

func (r *Registry) putManifest(w http.ResponseWriter, req *http.Request, t target, ref string) error {
	text, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxManifest))
	if err != nil {
		return &failure{http.StatusRequestEntityTooLarge, "SIZE_INVALID", fmt.Sprintf("read the manifest: %v", err)}
	}
	kind := types.MediaType(req.Header.Get("Content-Type"))
	if !kind.IsImage() && !kind.IsIndex() {
		return &failure{http.StatusBadRequest, "MANIFEST_INVALID", fmt.Sprintf("a manifest of type %q is not taken", kind)}
	}
	full := ""
	if strings.Contains(ref, ":") {
		want, err := digestOf(ref)
		if err != nil {
			return err
		}
		if got, _, err := v1.SHA256(strings.NewReader(string(text))); err != nil || got != want {
			return &failure{http.StatusBadRequest, "DIGEST_INVALID", fmt.Sprintf("the manifest is %s and not %s", got, want)}
		}
	} else {
		if !tagPattern.MatchString(ref) {
			return &failure{http.StatusBadRequest, "TAG_INVALID", fmt.Sprintf("%q is not a tag", ref)}
		}
		if full, err = t.tagged(ref); err != nil {
			return &failure{http.StatusBadRequest, "NAME_INVALID", err.Error()}
		}
	}
	digest, err := r.store.PutManifest(full, text, kind)
	if errors.Is(err, image.ErrNotFound) {
		return &failure{http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", err.Error()}
	}
	if err != nil {
		return &failure{http.StatusBadRequest, "MANIFEST_INVALID", err.Error()}
	}
	w.Header().Set("Docker-Content-Digest", digest.String())
	w.Header().Set("Location", "/v2/"+t.repo+"/manifests/"+digest.String())
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (r *Registry) tags(w http.ResponseWriter, req *http.Request, t target) error {
	if req.Method != http.MethodGet {
		return &failure{http.StatusMethodNotAllowed, "UNSUPPORTED", req.Method + " of tags is not supported"}
	}
	entries, err := r.store.List()
	if err != nil {
		return err
	}
	answer := struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{Name: t.repo}
	for _, e := range entries {
		if tag, ok := strings.CutPrefix(e.Reference, t.host+"/"+t.repo+":"); ok {
			answer.Tags = append(answer.Tags, tag)
		}
	}
	if answer.Tags == nil {
		return &failure{http.StatusNotFound, "NAME_UNKNOWN", "no repository " + t.host + "/" + t.repo}
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(answer)
}
