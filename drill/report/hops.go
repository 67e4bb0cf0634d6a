package report

import (
	"fmt"
	"strings"

	"github.com/nines-ha/nines/drill/claim"
)

// hopWords is what a proxy says of a request, in a line.
func hopWords(h claim.Hop) string {
	text := h.Proxy + " " + h.Pod
	if h.Node != "" {
		text += " on " + h.Node
	}
	text += ": "
	if h.Status > 0 {
		text += fmt.Sprintf("%d ", h.Status)
	}
	text += "after " + lasting(h.Length)
	if len(h.Words) > 0 {
		text += ", " + strings.Join(h.Words, ", ")
	}
	if h.Attempts > 1 {
		text += fmt.Sprintf(", %d attempts", h.Attempts)
	}
	switch {
	case h.Proxy != "inbound" && h.UpstreamPod != "":
		text += ", to " + h.UpstreamPod
	case h.Proxy != "inbound" && h.Upstream != "":
		text += ", to " + h.Upstream
	}
	if h.Failure != "" {
		text += " (" + h.Failure + ")"
	}
	return clean(text)
}
