// Package storetest runs a real PostgreSQL 15 for tests: TLS with an authority
// of its own, on a loopback port, as an unprivileged user, in a temporary
// folder. Call Start in TestMain, Database in each test and Stop at the end.
// It takes the server from NINES_TEST_POSTGRES (a folder with initdb and
// postgres), the Debian package, or a root file system in the cache of nines,
// and installs nothing. It is made for speed: what it commits does not survive
// a power cut.
package storetest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nines-ha/nines/service"
)

// A Server is one PostgreSQL. Its fields are set by Start.
type Server struct {
	place       place
	home        string // the server's own folder, as this process sees it
	port        uint16
	password    string
	roots       *x509.CertPool
	authority   []byte // PEM
	stop, crash func() error
	databases   atomic.Int32
	err         error
}

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 10 * time.Second
)

// Start makes a server. It reports no error: Database does, where there is a
// test to fail or to skip.
func Start() *Server {
	s := &Server{}
	s.err = s.create()
	return s
}

func (s *Server) create() (err error) {
	if s.place, err = find(); err != nil {
		return err
	}
	if s.home, err = os.MkdirTemp(s.place.temporary(), "nines-postgres-"); err != nil {
		return err
	}
	s.password = rand.Text()
	certificate, key, authority, err := issue()
	if err != nil {
		return err
	}
	s.authority, s.roots = authority, x509.NewCertPool()
	s.roots.AppendCertsFromPEM(authority)
	files := map[string]string{
		"password": s.password, "server.crt": string(certificate), "server.key": string(key),
		"hba.conf": "hostssl all all 127.0.0.1/32 scram-sha-256\n",
	}
	for name, body := range files {
		if err := os.WriteFile(filepath.Join(s.home, name), []byte(body), 0o600); err != nil {
			return err
		}
	}
	err = filepath.WalkDir(s.home, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || os.Getuid() != 0 {
			return err
		}
		return os.Chown(path, nobody, nobody)
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	initdb := s.place.command(ctx, "initdb", "-D", s.inside("data"), "-U", "postgres", "-A", "scram-sha-256",
		"--pwfile", s.inside("password"), "--no-sync", "-E", "UTF8", "--locale=C")
	initdb.Dir = s.place.directory(s.home)
	if output, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, output)
	}
	return s.Resume()
}

// Resume starts the server again after Pause.
func (s *Server) Resume() error {
	var problems []error
	for range 3 { // another process may take the free port first
		if s.port == 0 {
			port, err := freePort()
			if err != nil {
				return err
			}
			s.port = port
		}
		err := s.run()
		if err == nil {
			return nil
		}
		problems = append(problems, err)
		s.port = 0
	}
	return errors.Join(problems...)
}

func (s *Server) run() error {
	log, err := os.OpenFile(filepath.Join(s.home, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	arguments := []string{"-D", s.inside("data"), "-p", strconv.Itoa(int(s.port))}
	for _, setting := range []string{
		"listen_addresses=127.0.0.1", "unix_socket_directories=", "hba_file=" + s.inside("hba.conf"),
		"ssl=on", "ssl_cert_file=" + s.inside("server.crt"), "ssl_key_file=" + s.inside("server.key"),
		"fsync=off", "full_page_writes=off", "dynamic_shared_memory_type=mmap", "shared_buffers=32MB", "timezone=UTC",
	} {
		arguments = append(arguments, "-c", setting)
	}
	command := s.place.command(context.Background(), "postgres", arguments...)
	command.Dir = s.place.directory(s.home)
	command.Stdout, command.Stderr = log, log
	ended, err := startWithParent(command)
	if err != nil {
		return err
	}
	end := func(how syscall.Signal) error {
		s.stop, s.crash = nil, nil
		_ = command.Process.Signal(how)
		select {
		case <-ended:
			return nil
		case <-time.After(stopTimeout):
			_ = command.Process.Kill()
			<-ended
			return errors.New("postgres did not stop when asked")
		}
	}
	s.stop = func() error { return end(syscall.SIGINT) }   // fast: ends sessions
	s.crash = func() error { return end(syscall.SIGQUIT) } // immediate
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		conn, err := s.connect(ctx, "postgres")
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ended:
			return fmt.Errorf("postgres ended at once: %s", s.lastWords())
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("postgres is not ready in %s: %w\n%s", startTimeout, err, s.lastWords()), s.stop())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Crash ends the server as a power cut of its process would: no checkpoint, all
// sessions cut, recovery from the log at Resume.
func (s *Server) Crash() error {
	if s.crash == nil {
		return errors.New("the server does not run")
	}
	return s.crash()
}

// Pause stops the server and keeps its data and its port.
func (s *Server) Pause() error {
	if s.stop == nil {
		return nil
	}
	return s.stop()
}

// Stop ends the server and removes all of it.
func (s *Server) Stop() error {
	err := s.Pause()
	if s.home == "" {
		return err
	}
	return errors.Join(err, os.RemoveAll(s.home))
}

// Require fails or skips a test that needs the server and cannot have it.
func (s *Server) Require(t testing.TB) {
	t.Helper()
	if s.err == nil {
		return
	}
	if os.Getenv("NINES_REQUIRE_POSTGRES") == "1" || !errors.Is(s.err, errMissing) {
		t.Fatal(s.err)
	}
	t.Skip(s.err)
}

// Database makes an empty database with an owner of its own and returns what a
// service is given to reach it.
func (s *Server) Database(t testing.TB) func() (service.StoreAccess, error) {
	t.Helper()
	s.Require(t)
	name := fmt.Sprintf("test%d", s.databases.Add(1))
	password := rand.Text()
	s.Exec(t, "CREATE ROLE "+name+" LOGIN PASSWORD '"+password+"'")
	s.Exec(t, "CREATE DATABASE "+name+" OWNER "+name)
	return func() (service.StoreAccess, error) {
		return service.StoreAccess{
			Host: "127.0.0.1", Port: s.port, Database: name, Username: name, Password: service.NewSecret(password),
			TLS: &tls.Config{RootCAs: s.roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12},
		}, nil
	}
}

// Folder makes an empty database and returns a folder of stores (STORES_DIR)
// in which it has the given name.
func (s *Server) Folder(t testing.TB, store string) string {
	t.Helper()
	access, err := s.Database(t)()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, store), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]string{
		"host": access.Host, "port": strconv.Itoa(int(access.Port)), "database": access.Database,
		"username": access.Username, "password": access.Password.Reveal(), "ca.crt": string(s.authority),
	} {
		if err := os.WriteFile(filepath.Join(folder, store, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// Exec runs one statement as the superuser.
func (s *Server) Exec(t testing.TB, statement string) {
	t.Helper()
	s.Require(t)
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	conn, err := s.connect(ctx, "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, statement); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) connect(ctx context.Context, database string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig("host=127.0.0.1 sslmode=require user=postgres")
	if err != nil {
		return nil, err
	}
	config.Port, config.Database, config.Password = s.port, database, s.password
	config.TLSConfig = &tls.Config{RootCAs: s.roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
	return pgx.ConnectConfig(ctx, config)
}

// inside is a path in the server's folder as the server sees it.
func (s *Server) inside(name string) string {
	return filepath.Join(s.place.directory(s.home), name)
}

func (s *Server) lastWords() string {
	body, _ := os.ReadFile(filepath.Join(s.home, "log"))
	const enough = 2000
	return strings.TrimSpace(string(body[max(0, len(body)-enough):]))
}

func freePort() (uint16, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).AddrPort().Port(), nil
}

// startWithParent starts a command that is told to end when this process dies.
// The signal follows the thread that started it, so that thread is kept.
func startWithParent(command *exec.Cmd) (ended <-chan struct{}, err error) {
	done, started := make(chan struct{}), make(chan error)
	go func() {
		defer close(done)
		runtime.LockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			_ = command.Wait()
		}
	}()
	return done, <-started
}
