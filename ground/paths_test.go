package ground

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestStates(t *testing.T) {
	for _, test := range []struct{ xdg, home, want string }{
		{"/state", "/home/a", "/state/nines"},
		{"", "/home/a", "/home/a/.local/state/nines"},
		{"relative", "/home/a", "/home/a/.local/state/nines"},
	} {
		t.Setenv("XDG_STATE_HOME", test.xdg)
		t.Setenv("HOME", test.home)
		if got, err := States(); err != nil || got != test.want {
			t.Errorf("%q, %q: %s, %v, want %s", test.xdg, test.home, got, err, test.want)
		}
	}
}

// What one owner cleans away must not be another's that lives.
func TestGroupsOfOneNameDiffer(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/a")
	a, again, other := group("fleet"), group("fleet"), group("flee")
	t.Setenv("XDG_STATE_HOME", "/b")
	if b := group("fleet"); a == b || a != again || a == other {
		t.Errorf("groups %s, %s, %s, %s", a, again, other, b)
	}
}

func TestNobodyRuns(t *testing.T) {
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	if names, err := Names(); err != nil || len(names) != 0 {
		t.Errorf("names = %v, %v", names, err)
	}
	if _, err := Connect("fleet"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("error = %v", err)
	}
	if err := Clean(t.Context(), "fleet", true); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	if err := os.MkdirAll(filepath.Join(state, "nines", "fleet", "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if names, err := Names(); err != nil || !slices.Equal(names, []string{"fleet"}) {
		t.Errorf("names = %v, %v", names, err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, c := range map[string]Config{
		"no region": {Name: "a"},
		"no zone":   {Name: "a", Regions: []Region{{Name: "r", Nodes: 1}}},
		"no node":   {Name: "a", Regions: []Region{{Name: "r", Zones: 1}}},
	} {
		if err := Up(t.Context(), c, nil); err == nil {
			t.Errorf("%s: it came up", name)
		}
		if _, err := Plan(c); err == nil {
			t.Errorf("%s: there is a plan", name)
		}
	}
}
