// Package registry serves an image store over the OCI distribution protocol,
// as the mirror of every host for every containerd of the ground. Start with
// New; HostsTOML is what a node's containerd needs. An upstream reference the
// store lacks is made by the catalogue while the pull waits; one that nobody
// has is refused with words that reach the pod. It makes no images itself.
package registry
