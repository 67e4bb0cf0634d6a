package image

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Reference writes a reference in full, as containerd does: redis:7 becomes
// docker.io/library/redis:7, and no tag and no digest becomes :latest.
func Reference(short string) (string, error) {
	ref, err := name.ParseReference(short)
	if err != nil {
		return "", fmt.Errorf("image reference %q: %w (expected HOST/NAME:TAG)", short, err)
	}
	full := ref.Name()
	if rest, ok := strings.CutPrefix(full, name.DefaultRegistry+"/"); ok {
		full = "docker.io/" + rest
	}
	return full, nil
}

// repository is a full reference without its tag or digest.
func repository(full string) string {
	if at := strings.IndexByte(full, '@'); at >= 0 {
		full = full[:at]
	}
	if colon := strings.LastIndexByte(full, ':'); colon > strings.LastIndexByte(full, '/') {
		full = full[:colon]
	}
	return full
}

func parseTag(text string) (name.Tag, error) {
	tag, err := name.NewTag(text)
	if err != nil {
		return tag, fmt.Errorf("image name %q: %w", text, err)
	}
	return tag, nil
}
