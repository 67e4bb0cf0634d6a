// Package render turns a described system into files: its subpackages, one
// for each target, are pure functions from system.System to Files. Start with
// render/kubernetes. Folder keeps a folder on disk equal to a set of files.
// Nothing here talks to a cluster or a cloud.
package render

// A File is one rendered file.
type File struct {
	Path string // with slashes, relative to the folder it is written to
	Body []byte
}
