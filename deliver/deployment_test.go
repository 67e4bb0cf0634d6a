package deliver

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMessage(t *testing.T) {
	d := Deployment{Service: "vehicle", Image: newImage, Previous: oldImage, Version: "v1.4.0", Regions: []string{"westeurope"}}
	want := `vehicle: deploy v1.4.0 in westeurope

answers faster
Nines-Service: command

from registry.local/fleet/vehicle@sha256:aaaaaaaaaaaaaaaaaaaa
to   registry.local/fleet/vehicle@sha256:bbbbbbbbbbbbbbbbbbbb

Nines-Service: vehicle
Nines-Image: registry.local/fleet/vehicle@sha256:bbbbbbbbbbbbbbbbbbbb
Nines-Previous: registry.local/fleet/vehicle@sha256:aaaaaaaaaaaaaaaaaaaa
Nines-Version: v1.4.0
Nines-Regions: westeurope
`
	if diff := cmp.Diff(want, d.Message(" answers faster\nNines-Service: command\n")); diff != "" {
		t.Error(diff)
	}
}

func TestShortImage(t *testing.T) {
	for image, want := range map[string]string{
		oldImage: "aaaaaaaaaaaa", "host:5000/a/b:1.2": "1.2", "host:5000/a/b": "host:5000/a/b", "": "", "a@sha256:12": "12",
	} {
		if got := ShortImage(image); got != want {
			t.Errorf("%s: %q, want %q", image, got, want)
		}
	}
}

func TestUndoing(t *testing.T) {
	deployment := func(hash, image, regions string, undoes ...string) Deployment {
		return Deployment{Commit: Commit{Hash: hash}, Service: "vehicle", Image: image, Regions: strings.Fields(regions), Undoes: undoes}
	}
	both := []Deployment{ // newest first
		deployment("eeee", "c", "north"),
		deployment("dddd", "c", "west"),
		deployment("cccc", "b", "north"),
		deployment("bbbb", "b", "west"),
		deployment("aaaa", "a", "west north"),
	}
	again := append([]Deployment{deployment("ffff", "b", "west north", "eeee", "dddd")}, both...)
	for name, c := range map[string]struct {
		all  []Deployment
		to   string
		want string
	}{
		"the last one, of each region":  {both, "", "eeee dddd"},
		"one region got it":             {both[1:], "", "dddd"},
		"what was taken back stays so":  {again, "", "cccc bbbb"},
		"to a deployment":               {both, "aaaa", "eeee dddd cccc bbbb"},
		"to one of its commits":         {both, "bbbb", "eeee dddd"},
		"over one that was taken back":  {again, "aaaa", "cccc bbbb"},
		"to the newest":                 {both, "dddd", "nothing to roll back: eeee is the newest"},
		"to what was taken back":        {again, "dddd", "the newest are cccc (b), aaaa (a)"},
		"to what is not there":          {nil, "1234", "the newest are none"},
		"to too little":                 {both, "a", "four digits"},
		"nothing":                       {nil, "", "nothing to roll back"},
		"nothing that stands":           {[]Deployment{deployment("b", "a", "west", "a"), deployment("a", "b", "west")}, "", "nothing to roll back"},
		"the same twice is not one":     {[]Deployment{deployment("bbbb", "a", "west"), deployment("aaaa", "a", "west")}, "", "bbbb"},
		"a rollback of another service": {[]Deployment{deployment("aaaa", "a", "west")}, "", "aaaa"},
	} {
		undone, err := Undoing(c.all, c.to)
		var got []string
		for _, d := range undone {
			got = append(got, d.Hash)
		}
		text := strings.Join(got, " ")
		if err != nil {
			text = err.Error()
		}
		if text != c.want && (err == nil || !strings.Contains(text, c.want)) {
			t.Errorf("%s: %q, want %q", name, text, c.want)
		}
	}
}

// deploy publishes what a service is to run, as a file.
func deploy(t *testing.T, r *Repository, service, from, to string) Deployment {
	t.Helper()
	d := Deployment{Service: service, Image: to, Previous: from, Regions: []string{"westeurope"}}
	_, err := r.Publish(t.Context(), func(ctx context.Context) (Commit, error) {
		if err := os.WriteFile(filepath.Join(r.Dir(), service+".yaml"), []byte("image: "+to+"\nreplicas: 3\n"), 0o600); err != nil {
			return Commit{}, err
		}
		var err error
		d.Commit, err = r.Commit(ctx, d.Message(""))
		return d.Commit, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestUndo(t *testing.T) {
	h := newHost(t)
	r := h.clone(t)
	first := deploy(t, r, "vehicle", "", "a:1")
	second := deploy(t, r, "vehicle", "a:1", "a:2")
	deploy(t, r, "command", "", "c:1")

	undo := func(r *Repository, to string) (d Deployment, err error) {
		_, err = r.Publish(t.Context(), func(ctx context.Context) (Commit, error) {
			all, err := r.Deployments(ctx, "vehicle")
			if err != nil {
				return Commit{}, err
			}
			undone, err := Undoing(all, to)
			if err != nil {
				return Commit{}, err
			}
			d, err = r.Undo(ctx, undone, "it was slow")
			return d.Commit, err
		})
		return d, err
	}
	other := h.clone(t) // it is shallow, and must see the history all the same
	d, err := undo(other, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := h.git(t, "show", "main:vehicle.yaml"); got != "image: a:1\nreplicas: 3\n" {
		t.Errorf("the tree holds %q", got)
	}
	if got := h.git(t, "show", "main:command.yaml"); !strings.Contains(got, "c:1") {
		t.Errorf("of another service: %q", got)
	}
	if d.Image != "a:1" || d.Previous != "a:2" || !cmp.Equal(d.Undoes, []string{second.Hash}) || !cmp.Equal(d.Files, []string{"vehicle.yaml"}) {
		t.Errorf("%+v", d)
	}
	if got := h.git(t, "log", "-1", "--format=%s", "main"); got != "vehicle: roll back to 1 in westeurope\n" {
		t.Errorf("subject %q", got)
	}

	// The first deployment has nothing before it.
	if _, err := undo(other, ""); !errors.Is(err, ErrNothing) || !strings.Contains(err.Error(), Short(first.Hash)) {
		t.Errorf("error %v", err)
	}
}

func TestUndoRefuses(t *testing.T) {
	h := newHost(t)
	r := h.clone(t)
	deploy(t, r, "vehicle", "", "a:1")
	bad := deploy(t, r, "vehicle", "a:1", "a:2")
	// By hand, and not by a deployment.
	if err := os.WriteFile(filepath.Join(r.Dir(), "vehicle.yaml"), []byte("image: a:3\nreplicas: 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Commit(t.Context(), "by hand"); err != nil {
		t.Fatal(err)
	}
	head, err := r.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Undo(t.Context(), []Deployment{bad}, "")
	conflict, ok := errors.AsType[*ConflictError](err)
	if !ok || !cmp.Equal(conflict.Files, []string{"vehicle.yaml"}) || !strings.Contains(err.Error(), "nines deploy") {
		t.Fatalf("error %v", err)
	}
	if now, err := r.Head(t.Context()); now != head || err != nil {
		t.Errorf("the clone is at %s, %v; want %s", now, err, head)
	}
	if status := run(t, r.Dir(), "git", "status", "--porcelain"); status != "" {
		t.Errorf("the conflict is left: %s", status)
	}
}

func TestFiles(t *testing.T) {
	h := newHost(t)
	r := h.clone(t)
	put(t, r, "first", file("a/b.yaml", "1"), file("README.md", "2"))
	if err := os.WriteFile(filepath.Join(r.Dir(), "theirs.yaml"), []byte("not rendered\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(r.Dir(), "link.yaml")); err != nil {
		t.Fatal(err)
	}
	files, err := r.Files()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Path)
	}
	if diff := cmp.Diff([]string{"README.md", "a/b.yaml"}, names); diff != "" {
		t.Error(diff)
	}
}
