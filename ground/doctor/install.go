package doctor

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Missing returns the names of the packages that this machine lacks.
func Missing() []string {
	return Here("", "").missing()
}

func (m *Machine) missing() []string {
	var names []string
	for _, p := range Packages() {
		if !p.installed(m) {
			names = append(names, p.Name)
		}
	}
	return names
}

// InstallPackages installs what Missing returns and tells about it on story; it
// does nothing when nothing is missing. Without root or apt-get it fails with
// the command that a person must run.
func InstallPackages(ctx context.Context, story io.Writer) error {
	m := Here("", "")
	return m.install(ctx, story, aptGet(story))
}

// Each of the two apt-get runs may take this long, the wait for another
// package manager included.
const installTime = 10 * time.Minute

type aptGetFunc func(ctx context.Context, args ...string) error

func aptGet(story io.Writer) aptGetFunc {
	return func(ctx context.Context, args ...string) error {
		ctx, cancel := context.WithTimeout(ctx, installTime)
		defer cancel()
		cmd := bounded(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8")
		cmd.Stdout, cmd.Stderr = story, story
		return cmd.Run()
	}
}

func (m *Machine) install(ctx context.Context, story io.Writer, apt aptGetFunc) error {
	names := m.missing()
	if len(names) == 0 {
		return nil
	}
	if _, err := m.LookPath("apt-get"); err != nil {
		return fmt.Errorf("packages are missing and there is no apt-get; install what your system calls %s", strings.Join(names, " "))
	}
	if m.UID != 0 {
		return fmt.Errorf("packages are missing and only root can install them; run: %s", installCommand(names, true))
	}
	fmt.Fprintf(story, "installing Debian packages: %s\n", strings.Join(names, " "))
	if err := apt(ctx, "update", "-q"); err != nil {
		// One source that does not answer must not stop the others.
		fmt.Fprintf(story, "apt-get update: %v; trying with the lists that are there\n", err)
	}
	args := append([]string{"install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"}, names...)
	if err := apt(ctx, args...); err != nil {
		return fmt.Errorf("install %s: %w; to repeat it: %s", strings.Join(names, " "), err, installCommand(names, false))
	}
	if still := m.missing(); len(still) > 0 {
		return fmt.Errorf("apt-get succeeded, yet %s cannot be found; see \"nines doctor\"", strings.Join(still, " "))
	}
	return nil
}

func installCommand(names []string, sudo bool) string {
	prefix := ""
	if sudo {
		prefix = "sudo "
	}
	return fmt.Sprintf("%sapt-get update && %sapt-get install -y --no-install-recommends %s", prefix, prefix, strings.Join(names, " "))
}
