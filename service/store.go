package service

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A Store names a database that the platform provides. It holds no credentials:
// read them for each new connection, so that a rotated password is picked up.
type Store struct {
	name, dir string
}

// StoreAccess is what a connection to a store needs.
type StoreAccess struct {
	Host     string
	Port     uint16
	Database string
	Username string
	Password Secret
	// TLS verifies the server's certificate against the store's own authority
	// and its name against Host.
	TLS *tls.Config
}

func (s Store) Name() string { return s.name }

// Access reads the store's files as they are now: host, port, database,
// username, password and ca.crt. All come from one version of the mounted
// Secret, even while it is being replaced.
func (s Store) Access() (StoreAccess, error) {
	if s.name == "" || s.name != filepath.Base(s.name) || strings.HasPrefix(s.name, ".") {
		return StoreAccess{}, fmt.Errorf("store %q: not a name; use the one under stores in nines.yaml", s.name)
	}
	const attempts = 3
	var err error
	for range attempts {
		var access StoreAccess
		if access, err = s.read(); err == nil {
			return access, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return StoreAccess{}, fmt.Errorf("store %s: %w; list it under stores of this service, or set STORES_DIR", s.name, err)
	}
	return StoreAccess{}, fmt.Errorf("store %s: %w", s.name, err)
}

func (s Store) read() (StoreAccess, error) {
	dir := filepath.Join(s.dir, s.name)
	// Kubernetes replaces a mounted Secret by pointing ..data at a new folder.
	// Naming that folder once keeps a new password from meeting an old user name;
	// should it be gone by now, Access tries again.
	if version, err := os.Readlink(filepath.Join(dir, "..data")); err == nil {
		dir = filepath.Join(dir, filepath.Base(version))
	}
	text := map[string]string{}
	for _, name := range []string{"host", "port", "database", "username", "password", "ca.crt"} {
		body, err := readBounded(filepath.Join(dir, name))
		if err != nil {
			return StoreAccess{}, err
		}
		text[name] = strings.TrimRight(string(body), "\r\n")
		if text[name] == "" {
			return StoreAccess{}, fmt.Errorf("%s is empty", name)
		}
	}
	port, err := strconv.ParseUint(text["port"], 10, 16)
	if err != nil || port == 0 {
		return StoreAccess{}, fmt.Errorf("port %q is not a number from 1 to 65535", text["port"])
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(text["ca.crt"])) {
		return StoreAccess{}, errors.New("ca.crt holds no certificate in PEM form")
	}
	return StoreAccess{
		Host: text["host"], Port: uint16(port), Database: text["database"],
		Username: text["username"], Password: NewSecret(text["password"]),
		TLS: &tls.Config{RootCAs: roots, ServerName: text["host"], MinVersion: tls.VersionTLS12},
	}, nil
}

func readBounded(name string) ([]byte, error) {
	const largest = 1 << 20
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	body, err := io.ReadAll(io.LimitReader(file, largest+1))
	if err != nil {
		return nil, err
	}
	if len(body) > largest {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, largest)
	}
	return body, nil
}
