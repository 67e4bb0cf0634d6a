package image

import (
	"archive/tar"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFromRoot(t *testing.T) {
	root := t.TempDir()
	write(t, root, map[string]string{
		"etc/passwd":  "root:x:0:0::/root:/bin/sh\nredis:x:101:102::/var/lib/redis:/usr/sbin/nologin\n",
		"usr/bin/one": "program",
	})
	if err := os.Link(filepath.Join(root, "usr/bin/one"), filepath.Join(root, "usr/bin/two")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("usr/bin", filepath.Join(root, "bin")); err != nil {
		t.Fatal(err)
	}
	s := open(t)
	r := Recipe{Reference: "docker.io/library/redis:7", User: "redis", Dirs: []Dir{{Path: "data", User: "redis"}}}
	img, err := s.fromRoot(root, r)
	if err != nil {
		t.Fatal(err)
	}
	sound(t, img)
	cf, err := img.ConfigFile()
	if err != nil || cf.Config.User != "101:102" {
		t.Errorf("user %q, %v; want the number", cf.Config.User, err)
	}
	files := contents(t, img)
	if h := files["usr/bin/two"]; h == nil || h.Typeflag != tar.TypeLink || h.Linkname != "usr/bin/one" {
		t.Errorf("hard link %+v", h)
	}
	if h := files["bin"]; h == nil || h.Linkname != "usr/bin" {
		t.Errorf("symbolic link %+v", h)
	}
	if h := files["data/"]; h == nil || h.Uid != 101 {
		t.Errorf("made directory %+v", h)
	}
	again, err := s.fromRoot(root, r)
	if err != nil {
		t.Fatal(err)
	}
	a, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := again.Digest(); err != nil || a != b {
		t.Errorf("the same root gave %s and %s, %v", a, b, err)
	}
	r.Users, r.User, r.Dirs[0].User = []string{"argocd:x:999:998::/home/argocd:/bin/sh"}, "argocd", "argocd"
	own, err := s.fromRoot(root, r)
	if err != nil {
		t.Fatal(err)
	}
	sound(t, own)
	if cf, err := own.ConfigFile(); err != nil || cf.Config.User != "999:998" {
		t.Errorf("user %q, %v; want that of the recipe", cf.Config.User, err)
	}
	files = contents(t, own)
	if h := files["data/"]; h == nil || h.Uid != 999 {
		t.Errorf("made directory %+v", h)
	}
	if h := files["etc/passwd"]; h == nil || h.Mode != 0o644 || h.Size <= int64(len(r.Users[0])) {
		t.Errorf("users %+v", h)
	}
	r.Dirs[0].User = "nobody-here"
	if _, err := s.fromRoot(root, r); err == nil || !strings.Contains(err.Error(), "a user that the root does not have") {
		t.Errorf("an unknown user: %v", err)
	}
}
