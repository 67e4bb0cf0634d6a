// Package postgres is a managed PostgreSQL as the cloud runs it outside the
// cluster: stock Debian PostgreSQL 15 in a root file system, machine and mount of
// its own, TLS only, its data kept between runs. Call New, add Part to a plan,
// and read Access once it is ready. One instance stands for a zone-redundant
// server: it is in no zone and does not fail over.
package postgres

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/nines-ha/nines/ground/part"
	"github.com/nines-ha/nines/internal/cgroup"
	"github.com/nines-ha/nines/internal/namespace"
	"github.com/nines-ha/nines/internal/overlay"
	"github.com/nines-ha/nines/internal/pki"
	"github.com/nines-ha/nines/internal/process"
)

// RootName is the Debian root file system that a server runs in, with the
// packages it is made of.
const RootName = "postgresql-15"

// RootPackages are those packages.
var RootPackages = []string{"postgresql-15"}

const (
	binDir  = "/usr/lib/postgresql/15/bin"
	dataDir = "/var/lib/postgresql/data"
	keyDir  = "/etc/postgresql/keys"
	port    = 5432
)

// Config describes one server.
type Config struct {
	Name    string // of the store
	Region  string
	Host    string // DNS name that clients use and its certificate holds
	Address netip.Addr
	Root    func() string // the Debian root; asked once the engine is there
	Dir     string        // for what ends with the run: mounts, keys
	Data    string        // for what stays
	LogDir  string
	Attach  func(addr netip.Addr, machine *namespace.Set) error
	Group   *cgroup.Group // its own; made when the part starts
}

// Access is what a client needs. The password is new at each start.
type Access struct {
	Host, Port, Database, Username, Password string
	CA                                       []byte
}

// Server is one PostgreSQL, running or not.
type Server struct {
	config  Config
	machine *namespace.Set
	ca      *pki.Authority
	access  Access
	program *process.Spec
}

// New describes a server. Nothing is written until its part starts.
func New(config Config) *Server {
	s := &Server{config: config, machine: &namespace.Set{}}
	s.program = &process.Spec{
		Name: config.Region + "/" + config.Name,
		Path: binDir + "/postgres",
		Args: []string{
			"-D", dataDir,
			"-c", "listen_addresses=" + config.Address.String(),
			"-c", "port=" + strconv.Itoa(port),
			"-c", "unix_socket_directories=/run/postgresql",
			"-c", "hba_file=/etc/postgresql/pg_hba.conf", "-c", "ident_file=/etc/postgresql/pg_ident.conf",
			"-c", "ssl=on", "-c", "ssl_cert_file=" + keyDir + "/server.crt", "-c", "ssl_key_file=" + keyDir + "/server.key",
			"-c", "password_encryption=scram-sha-256",
			"-c", "max_connections=200", "-c", "shared_buffers=64MB",
			"-c", "log_destination=stderr", "-c", "logging_collector=off", "-c", "log_min_messages=warning",
			"-c", "tcp_keepalives_idle=30", "-c", "tcp_keepalives_interval=5", "-c", "tcp_keepalives_count=3",
		},
		Env:          []string{"PATH=" + binDir + ":/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"},
		Dir:          "/",
		LogFile:      filepath.Join(config.LogDir, config.Region+"-"+config.Name+".log"),
		Root:         overlay.Path(config.Dir, "/"),
		Namespaces:   s.machine,
		Group:        config.Group,
		StopSignal:   syscall.SIGINT, // fast shutdown: a checkpoint, no waiting for clients
		RestartAfter: time.Second,
	}
	return s
}

// Part is the server; after is what must be ready before.
func (s *Server) Part(after ...string) part.Part {
	return part.Part{
		Name:    s.config.Region + "/" + s.config.Name,
		Needs:   append([]string{"root/" + RootName}, after...),
		About:   fmt.Sprintf("PostgreSQL 15 at %s, one instance standing for a zone-redundant server", s.config.Host),
		Prepare: s.prepare,
		Program: s.program,
		Ready:   s.ready,
		Undo:    s.undo,
	}
}

// Host is the name that clients use.
func (s *Server) Host() string { return s.config.Host }

// Access is how clients reach the server; valid once the part is ready.
func (s *Server) Access() Access { return s.access }

func (s *Server) path(inRoot string) string { return overlay.Path(s.config.Dir, inRoot) }

func (s *Server) prepare(ctx context.Context) error {
	if err := s.config.Group.Make(); err != nil {
		return err
	}
	if err := s.mount(); err != nil {
		return err
	}
	uid, gid, err := account(s.path("/etc/passwd"), "postgres")
	if err != nil {
		return err
	}
	s.program.UID, s.program.GID = uid, gid
	if err := s.configure(int(uid), int(gid)); err != nil {
		return err
	}
	if err := s.initialise(ctx, int(uid), int(gid)); err != nil {
		return err
	}
	set, err := namespace.NewAttached(func(machine *namespace.Set) error { return s.config.Attach(s.config.Address, machine) })
	if err != nil {
		return err
	}
	*s.machine = *set
	return nil
}

// mount lays a writable layer over the shared root and the data into it. The
// mounts are in the ground's own mount namespace and end with it.
func (s *Server) mount() error {
	if err := os.MkdirAll(s.config.Data, 0o755); err != nil {
		return err
	}
	if err := overlay.Mount(s.config.Dir, s.config.Root()); err != nil {
		return err
	}
	for _, at := range []string{"/dev/shm", "/run/postgresql"} {
		if err := os.MkdirAll(s.path(at), 0o755); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", s.path(at), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777,size=256m"); err != nil {
			return fmt.Errorf("mount %s: %w", at, err)
		}
	}
	parent := filepath.Dir(dataDir)
	if err := os.MkdirAll(s.path(parent), 0o755); err != nil {
		return err
	}
	if err := unix.Mount(s.config.Data, s.path(parent), "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount data: %w", err)
	}
	return nil
}

func (s *Server) configure(uid, gid int) error {
	ca, err := pki.New(s.config.Host)
	if err != nil {
		return err
	}
	pair, err := ca.Issue(pki.Subject{Name: s.config.Host, Hosts: []string{s.config.Host, s.config.Address.String()}})
	if err != nil {
		return err
	}
	s.ca = ca
	if err := os.MkdirAll(s.path(keyDir), 0o755); err != nil {
		return err
	}
	files := map[string]string{
		keyDir + "/server.crt": string(pair.Cert),
		keyDir + "/server.key": string(pair.Key),
		// The ground itself comes as root through the socket; everybody else
		// through TLS with a password.
		"/etc/postgresql/pg_hba.conf":   "local all postgres peer map=ground\nhostssl all all 0.0.0.0/0 scram-sha-256\n",
		"/etc/postgresql/pg_ident.conf": "ground root postgres\n",
	}
	for name, body := range files {
		if err := os.WriteFile(s.path(name), []byte(body), 0o600); err != nil {
			return err
		}
		if err := os.Chown(s.path(name), uid, gid); err != nil {
			return err
		}
	}
	return nil
}

// initialise makes the data directory the first time, all or nothing.
func (s *Server) initialise(ctx context.Context, uid, gid int) error {
	if err := os.Chown(s.config.Data, uid, gid); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(s.config.Data, "data", "PG_VERSION")); err == nil {
		// A server that a power cut ended leaves its lock: no other can be
		// running on this directory, the ground's own lock sees to that.
		err := os.Remove(filepath.Join(s.config.Data, "data", "postmaster.pid"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := os.RemoveAll(filepath.Join(s.config.Data, "new")); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, binDir+"/initdb", "-D", filepath.Dir(dataDir)+"/new", "--auth=reject", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums", "--username=postgres")
	cmd.Env, cmd.Dir = s.program.Env, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: s.path("/"), Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return os.Rename(filepath.Join(s.config.Data, "new"), filepath.Join(s.config.Data, "data"))
}

// ready connects as the ground, then sets the application's role and database up.
func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	// By descriptor: the path may be longer than the kernel takes for a socket.
	dir, err := os.Open(s.path("/run/postgresql"))
	if err != nil {
		return err
	}
	defer dir.Close()
	conn, err := pgx.Connect(ctx, fmt.Sprintf("host=/proc/self/fd/%d port=%d user=postgres database=postgres", dir.Fd(), port))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	password := make([]byte, 24)
	if _, err := rand.Read(password); err != nil {
		return err
	}
	a := Access{
		Host: s.config.Host, Port: strconv.Itoa(port), Database: s.config.Name, Username: s.config.Name,
		Password: base64.RawURLEncoding.EncodeToString(password), CA: s.ca.PEM,
	}
	name := pgx.Identifier{s.config.Name}.Sanitize()
	var exists bool
	if err := conn.QueryRow(ctx, "select exists (select from pg_roles where rolname = $1)", s.config.Name).Scan(&exists); err != nil {
		return err
	}
	verb := "create"
	if exists {
		verb = "alter"
	}
	// The password is of the base64 alphabet: it needs no quoting.
	if _, err := conn.Exec(ctx, verb+" role "+name+" login password '"+a.Password+"'"); err != nil {
		return errors.New("set the application's role up: the server refused") // the statement holds the password
	}
	if err := conn.QueryRow(ctx, "select exists (select from pg_database where datname = $1)", s.config.Name).Scan(&exists); err != nil {
		return err
	}
	if !exists {
		if _, err := conn.Exec(ctx, "create database "+name+" owner "+name); err != nil {
			return err
		}
	}
	s.access = a
	return nil
}

func (s *Server) undo(context.Context) error {
	s.machine.Close()
	return overlay.Unmount(s.config.Dir, filepath.Dir(dataDir), "/run/postgresql", "/dev/shm")
}

// account finds a user in a passwd file.
func account(passwd, name string) (uid, gid uint32, err error) {
	body, err := os.ReadFile(passwd)
	if err != nil {
		return 0, 0, err
	}
	for _, line := range strings.Split(string(body), "\n") {
		f := strings.Split(line, ":")
		if len(f) < 4 || f[0] != name {
			continue
		}
		u, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", passwd, err)
		}
		g, err := strconv.ParseUint(f[3], 10, 32)
		return uint32(u), uint32(g), err
	}
	return 0, 0, fmt.Errorf("%s has no account %s", passwd, name)
}
