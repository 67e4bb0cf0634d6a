package doctor

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// A fakeApt notes what it was asked and makes the packages' commands appear.
type fakeApt struct {
	asked   []string
	fails   string // the first argument of the call that fails
	brings  bool
	machine *Machine
}

func (f *fakeApt) run(_ context.Context, args ...string) error {
	f.asked = append(f.asked, strings.Join(args, " "))
	if args[0] == f.fails {
		return errors.New("exit status 100")
	}
	if args[0] == "install" && f.brings {
		f.machine.LookPath = wellMachine().LookPath
	}
	return nil
}

func TestInstall(t *testing.T) {
	const install = "install -y -q --no-install-recommends -o DPkg::Lock::Timeout=120 nftables gcc"
	cases := []struct {
		name    string
		absent  []string
		uid     int
		apt     fakeApt
		asked   []string
		problem string
	}{
		{name: "nothing missing", apt: fakeApt{brings: true}},
		{name: "nothing missing, not root", uid: 1000},
		{name: "missing", absent: []string{"nft", "gcc"}, apt: fakeApt{brings: true}, asked: []string{"update -q", install}},
		{name: "update fails", absent: []string{"nft", "gcc"}, apt: fakeApt{brings: true, fails: "update"}, asked: []string{"update -q", install}},
		{name: "install fails", absent: []string{"nft", "gcc"}, apt: fakeApt{fails: "install"}, asked: []string{"update -q", install},
			problem: "to repeat it: apt-get update && apt-get install -y --no-install-recommends nftables gcc"},
		{name: "still missing", absent: []string{"nft", "gcc"}, asked: []string{"update -q", install}, problem: "nftables gcc cannot be found"},
		{name: "not root", absent: []string{"nft", "gcc"}, uid: 1000,
			problem: "run: sudo apt-get update && sudo apt-get install -y --no-install-recommends nftables gcc"},
		{name: "not Debian", absent: []string{"nft", "apt-get"}, problem: "install what your system calls nftables"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			machine := wellMachine()
			machine.UID = c.uid
			machine.LookPath = func(name string) (string, error) {
				if slices.Contains(c.absent, name) {
					return "", errors.New("executable file not found in $PATH")
				}
				return "/usr/bin/" + name, nil
			}
			apt := c.apt
			apt.machine = machine
			err := machine.install(t.Context(), io.Discard, apt.run)
			if c.problem == "" && err != nil || c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)) {
				t.Errorf("got error %v, want %q", err, c.problem)
			}
			if !slices.Equal(apt.asked, c.asked) {
				t.Errorf("asked %q, want %q", apt.asked, c.asked)
			}
		})
	}
}
