package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// fromRoot makes an image of a root file system and what lies above it.
func (s *Store) fromRoot(root string, r Recipe, above ...layer) (v1.Image, error) {
	passwd, err := os.ReadFile(filepath.Join(root, "etc/passwd"))
	if err != nil {
		return nil, fmt.Errorf("read the users of the root: %w", err)
	}
	if len(r.Users) > 0 {
		passwd = append(passwd, strings.Join(r.Users, "\n")+"\n"...)
		l, err := s.layerOf(file{Path: "etc/passwd", Mode: 0o644, Text: passwd})
		if err != nil {
			return nil, err
		}
		above = append([]layer{l}, above...)
	}
	users := readUsers(string(passwd))
	user := r.User
	if id, ok := users[user]; ok {
		user = fmt.Sprintf("%d:%d", id.uid, id.gid)
	}
	l, err := s.writeLayer(func(w *tar.Writer) error {
		if err := addTree(w, root); err != nil {
			return err
		}
		for _, d := range r.Dirs {
			id, ok := users[d.User]
			if !ok {
				return fmt.Errorf("directory /%s belongs to %q, a user that the root does not have", d.Path, d.User)
			}
			if err := (file{Path: d.Path, Mode: 0o755, UID: id.uid, GID: id.gid, Dir: true}).write(w); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return compose(runtime.GOARCH, v1.Config{
		User: user, WorkingDir: "/", Entrypoint: r.Entrypoint, Cmd: r.Cmd, Env: []string{"PATH=" + path},
	}, append([]layer{l}, above...)...)
}

type identity struct{ uid, gid int }

func readUsers(passwd string) map[string]identity {
	users := map[string]identity{}
	for line := range strings.Lines(passwd) {
		fields := strings.Split(line, ":")
		if len(fields) < 4 {
			continue
		}
		var id identity
		if _, err := fmt.Sscan(fields[2]+" "+fields[3], &id.uid, &id.gid); err == nil {
			users[fields[0]] = id
		}
	}
	return users
}

// addTree writes a directory tree in the order of its names. Devices and
// sockets are left out: a container runtime makes its own.
func addTree(w *tar.Writer, root string) error {
	links := map[[2]uint64]string{}
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode()&(fs.ModeDevice|fs.ModeSocket|fs.ModeNamedPipe) != 0 {
			return nil
		}
		target := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			if target, err = os.Readlink(p); err != nil {
				return err
			}
		}
		h, err := tar.FileInfoHeader(info, target)
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("%s: no owner", rel)
		}
		h.Name, h.Format = rel, tar.FormatPAX
		h.Uname, h.Gname = "", ""
		h.ModTime, h.AccessTime, h.ChangeTime = epoch, time.Time{}, time.Time{}
		switch {
		case d.IsDir():
			h.Name += "/"
		case info.Mode().IsRegular() && st.Nlink > 1:
			inode := [2]uint64{uint64(st.Dev), st.Ino}
			if first, seen := links[inode]; seen {
				h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
				return w.WriteHeader(h)
			}
			links[inode] = rel
		}
		if err := addCapabilities(h, p); err != nil {
			return err
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	})
}

func addCapabilities(h *tar.Header, p string) error {
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	value := make([]byte, 64)
	n, err := unix.Lgetxattr(p, "security.capability", value)
	switch {
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP):
		return nil
	case err != nil:
		return fmt.Errorf("read the capabilities of %s: %w", p, err)
	}
	h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": string(value[:n])}
	return nil
}
