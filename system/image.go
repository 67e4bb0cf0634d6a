package system

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/google/go-containerregistry/pkg/name"
)

// Image is a complete reference: registry, repository, and a tag or digest.
type Image string

func (i *Image) parse(text string, kind ast.NodeType) error {
	if kind != ast.StringType {
		return fmt.Errorf("%s is not an image reference", describe(text, kind))
	}
	repository, tag, tagged := cutTag(text)
	switch {
	case strings.Contains(text, "@"):
	case !tagged:
		return fmt.Errorf("%s has neither tag nor digest; which image that is would change by itself", quote(text))
	case tag == "latest":
		return fmt.Errorf("%s moves; name a version or a digest, so that every replica runs the same", quote(text))
	}
	if first, rest, ok := strings.Cut(repository, "/"); !ok || !strings.ContainsAny(first, ".:") && first != "localhost" {
		full := "docker.io/library/" + repository
		if rest != "" {
			full = "docker.io/" + repository
		}
		return fmt.Errorf("%s does not say which registry it is in; %s is perhaps meant", quote(text), quote(full+strings.TrimPrefix(text, repository)))
	}
	if _, err := name.ParseReference(text, name.StrictValidation); err != nil {
		return fmt.Errorf("%s is not an image reference", quote(text))
	}
	*i = Image(text)
	return nil
}

// cutTag cuts off tag and digest. A colon before the last slash is a port.
func cutTag(reference string) (repository, tag string, tagged bool) {
	reference, _, _ = strings.Cut(reference, "@")
	colon := strings.LastIndexByte(reference, ':')
	if colon <= strings.LastIndexByte(reference, '/') {
		return reference, "", false
	}
	return reference[:colon], reference[colon+1:], true
}
