package render

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Header is the first line of every rendered file. It is how Folder tells its
// own files from those of others.
const Header = "# Rendered by nines from nines.yaml. Change it there: what is changed here is lost.\n"

// ErrForeign says that a file in the way was not rendered.
var ErrForeign = errors.New("was not rendered by nines; move it away, or render into another folder")

// Changes are what Folder did to which paths, each list in order.
type Changes struct {
	Created   []string `json:"created"`
	Changed   []string `json:"changed"`
	Removed   []string `json:"removed"`
	Unchanged []string `json:"unchanged"`
}

// Folder makes the rendered files below dir exactly these: it writes what is
// new or differs, and removes what an earlier rendering left. Files without
// the header are never touched; one that is in the way is ErrForeign, found
// before anything is written.
func Folder(dir string, files []File) (Changes, error) {
	return Part(dir, ".", files)
}

// Part is Folder for one part of a folder: outside of it nothing is removed, and
// of the files those that are not in it are written too.
func Part(dir, part string, files []File) (Changes, error) {
	changes := Changes{Created: []string{}, Changed: []string{}, Removed: []string{}, Unchanged: []string{}}
	root, err := openRoot(dir)
	if err != nil {
		return changes, err
	}
	defer root.Close()
	stale, err := rendered(root, part)
	if err != nil {
		return changes, err
	}
	var write []File
	for _, f := range files {
		if !filepath.IsLocal(f.Path) || !bytes.HasPrefix(f.Body, []byte(Header)) {
			return changes, fmt.Errorf("write %s: not a rendered file", f.Path)
		}
		old, err := root.ReadFile(f.Path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			changes.Created = append(changes.Created, f.Path)
			write = append(write, f)
		case err != nil:
			return changes, fmt.Errorf("read %s: %w", f.Path, err)
		case !bytes.HasPrefix(old, []byte(Header)):
			return changes, fmt.Errorf("%s %w", filepath.Join(dir, f.Path), ErrForeign)
		case bytes.Equal(old, f.Body):
			changes.Unchanged = append(changes.Unchanged, f.Path)
		default:
			changes.Changed = append(changes.Changed, f.Path)
			write = append(write, f)
		}
		delete(stale, f.Path)
	}
	for _, f := range write {
		if err := replace(root, f); err != nil {
			return changes, err
		}
	}
	for name := range stale {
		if err := remove(root, name); err != nil {
			return changes, err
		}
		changes.Removed = append(changes.Removed, name)
	}
	for _, list := range [][]string{changes.Created, changes.Changed, changes.Removed, changes.Unchanged} {
		slices.Sort(list)
	}
	return changes, nil
}

// openRoot keeps everything below dir, even if something there is a link.
func openRoot(dir string) (*os.Root, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder: %w", err)
	}
	return root, nil
}

// rendered lists what an earlier rendering wrote into a part of the root.
func rendered(root *os.Root, part string) (map[string]bool, error) {
	found := map[string]bool{}
	err := fs.WalkDir(root.FS(), part, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case name == part && errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case entry.IsDir() && name != "." && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		case !entry.Type().IsRegular() || filepath.Ext(name) != ".yaml":
			return nil
		}
		ours, err := hasHeader(root, name)
		if ours {
			found[name] = true
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for earlier files: %w", err)
	}
	return found, nil
}

func hasHeader(root *os.Root, name string) (bool, error) {
	f, err := root.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	head := make([]byte, len(Header))
	_, err = io.ReadFull(f, head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return false, nil
	}
	return err == nil && string(head) == Header, err
}

// replace never leaves half a file at the path.
func replace(root *os.Root, f File) error {
	if err := root.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", f.Path, err)
	}
	next := f.Path + ".next"
	err := root.WriteFile(next, f.Body, 0o644)
	if err == nil {
		err = root.Rename(next, f.Path)
	}
	if err != nil {
		_ = root.Remove(next)
		return fmt.Errorf("write %s: %w", f.Path, err)
	}
	return nil
}

// remove also removes the folders that it leaves empty.
func remove(root *os.Root, name string) error {
	if err := root.Remove(name); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
		if root.Remove(dir) != nil {
			break
		}
	}
	return nil
}
