// Package git is a managed Git host as a cloud runs it outside the clusters: stock
// git's own http-backend in a Debian root file system, network and control group of
// its own, smart HTTP over TLS only, one repository that is kept between runs. Call
// New, add Part to a plan, and read Reader once it is ready; Publish leaves files
// for this machine's own programs, which ReadOutside finds. A program that has such
// a part must hand StageName to Stage. One instance stands for a managed service:
// it is in no zone and does not fail over.
package git

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nines-ha/nines/ground/part"
	"github.com/nines-ha/nines/internal/cgroup"
	"github.com/nines-ha/nines/internal/namespace"
	"github.com/nines-ha/nines/internal/overlay"
	"github.com/nines-ha/nines/internal/pki"
	"github.com/nines-ha/nines/internal/process"
)

// RootName is the Debian root file system that the host runs in.
const RootName = "git"

// RootPackages are the packages it is made of.
var RootPackages = []string{"git"}

// Who may come in.
const (
	Writer = "nines"  // reads and writes
	Reader = "argocd" // reads
)

// Port is the one that the host answers on.
const Port = 443

// Where things are in the root.
const (
	dataDir      = "/srv/git"
	programFile  = "/usr/local/lib/nines"
	settingsFile = "/etc/nines-git.json"
)

// www-data, the same in every Debian.
const uid, gid = 33, 33

// Config describes the host.
type Config struct {
	Part    string // name of its part, REGION/git
	Host    string // DNS name that clients use and its certificate holds
	Address netip.Addr
	Root    func() string // the Debian root; asked once it is there
	Dir     string        // for what ends with the run: mounts, keys, what Publish writes
	Data    string        // for what stays: the repository
	LogDir  string
	Attach  func(addr netip.Addr, machine *namespace.Set) error
	Group   *cgroup.Group // its own; made when the part starts
}

// Access is what a client needs. The password is new at each start of the part.
type Access struct {
	URL      string `json:"url"` // of the repository
	Host     string `json:"host"`
	Address  string `json:"address"` // that Host stands for, with the port
	Username string `json:"username"`
	Password string `json:"password"`
	CA       []byte `json:"ca"` // PEM
}

// Host is one Git host, running or not.
type Host struct {
	config    Config
	machine   *namespace.Set
	program   *process.Spec
	ca        *pki.Authority
	passwords map[string]string // of Writer and Reader
}

// New describes a host. Nothing is written until its part starts.
func New(config Config) *Host {
	h := &Host{config: config, machine: &namespace.Set{}}
	h.program = &process.Spec{
		Name:            config.Part,
		Path:            programFile,
		Args:            []string{StageName},
		Env:             []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC", "GOMEMLIMIT=128MiB"},
		Dir:             "/",
		Root:            overlay.Path(config.Dir, "/"),
		LogFile:         filepath.Join(config.LogDir, strings.ReplaceAll(config.Part, "/", "-")+".log"),
		Namespaces:      h.machine,
		Group:           config.Group,
		NoNewPrivileges: true,
		RestartAfter:    time.Second,
	}
	return h
}

// Part is the host; after is what must be ready before.
func (h *Host) Part(after ...string) part.Part {
	return part.Part{
		Name:    h.config.Part,
		Needs:   append([]string{"root/" + RootName}, after...),
		About:   fmt.Sprintf("Git host at %s, git's own http-backend standing for a managed service", h.config.Host),
		Prepare: h.prepare,
		Program: h.program,
		Ready:   h.ready,
		Undo:    h.undo,
	}
}

// Name is the DNS name that clients use.
func (h *Host) Name() string { return h.config.Host }

// Reader is how Argo CD reads, from inside the ground; valid once the part is ready.
func (h *Host) Reader() Access {
	return h.access(Reader, "https://"+h.config.Host+Path, netip.AddrPortFrom(h.config.Address, Port).String())
}

func (h *Host) access(user, url, address string) Access {
	return Access{URL: url, Host: h.config.Host, Address: address, Username: user, Password: h.passwords[user], CA: h.ca.PEM}
}

func (h *Host) path(inRoot string) string { return overlay.Path(h.config.Dir, inRoot) }

func (h *Host) prepare(ctx context.Context) error {
	if err := h.config.Group.Make(); err != nil {
		return err
	}
	if err := h.mount(); err != nil {
		return err
	}
	if err := h.configure(); err != nil {
		return err
	}
	if err := h.makeRepository(ctx); err != nil {
		return err
	}
	set, err := namespace.NewAttached(func(machine *namespace.Set) error { return h.config.Attach(h.config.Address, machine) })
	if err != nil {
		return err
	}
	*h.machine = *set
	return nil
}

// mount lays a writable layer over the shared root, and this program and the data
// into it. The mounts are in the ground's own mount namespace and end with it.
func (h *Host) mount() error {
	if err := os.MkdirAll(h.config.Data, 0o755); err != nil {
		return err
	}
	if err := overlay.Mount(h.config.Dir, h.config.Root()); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.WriteFile(h.path(programFile), nil, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(self, h.path(programFile), "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount the program: %w", err)
	}
	if err := unix.Mount("", h.path(programFile), "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("mount the program for reading only: %w", err)
	}
	if err := os.MkdirAll(h.path(dataDir), 0o755); err != nil {
		return err
	}
	if err := unix.Mount(h.config.Data, h.path(dataDir), "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount data: %w", err)
	}
	return unix.Mount("", h.path(dataDir), "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
}

// configure makes keys and passwords. The program reads them as root, before it
// becomes www-data: what git runs cannot.
func (h *Host) configure() error {
	ca, err := pki.New(h.config.Host + " authority") // not as its certificate: OpenSSL would take that for its own issuer
	if err != nil {
		return err
	}
	pair, err := ca.Issue(pki.Subject{Name: h.config.Host, Hosts: []string{h.config.Host, h.config.Address.String(), "127.0.0.1", "localhost"}})
	if err != nil {
		return err
	}
	h.ca, h.passwords = ca, map[string]string{Writer: rand.Text(), Reader: rand.Text()}
	s := settings{Listen: netip.AddrPortFrom(h.config.Address, Port).String(), Cert: pair.Cert, Key: pair.Key, UID: uid, GID: gid}
	for name, password := range h.passwords {
		s.Users = append(s.Users, user{Name: name, Digest: sha256.Sum256([]byte(password)), Writes: name == Writer})
	}
	body, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.WriteFile(h.path(settingsFile), body, 0o600); err != nil {
		return err
	}
	return os.WriteFile(h.path("/etc/gitconfig"), []byte(gitConfig), 0o644)
}

// ready reads the repository's references as a client does.
func (h *Host) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(h.ca.PEM)
	reader := h.Reader()
	transport := &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return h.machine.Dial(ctx, network, reader.Address)
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, reader.URL+"/info/refs?service="+uploadPack, nil)
	if err != nil {
		return err
	}
	req.SetBasicAuth(reader.Username, reader.Password)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New("it answers " + strconv.Itoa(resp.StatusCode))
	}
	return nil
}

func (h *Host) undo(context.Context) error {
	h.machine.Close()
	return overlay.Unmount(h.config.Dir, dataDir, programFile)
}
