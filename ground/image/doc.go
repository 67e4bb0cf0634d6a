// Package image keeps container images in one OCI image layout on disk and
// makes them: from an engine's program, from a Debian root file system and
// from a Go service's source, reproducibly. Open a Store first; Catalogue
// makes what an upstream reference stands for, BuildService an image of ours,
// Load takes images made elsewhere. It serves nothing: ground/registry does.
package image
