package service

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func authority(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func writeStore(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, body := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStoreAccess(t *testing.T) {
	t.Parallel()
	good := map[string]string{
		"host": "db.example\n", "port": "5432\n", "database": "telemetry", "username": "fleet",
		"password": " with spaces ", "ca.crt": authority(t),
	}
	cases := []struct{ name, file, body, err string }{
		{name: "good"},
		{name: "missing", file: "password", body: "-", err: "list it under stores"},
		{name: "empty", file: "username", body: "\n", err: "username is empty"},
		{name: "port", file: "port", body: "postgres", err: "not a number"},
		{name: "port zero", file: "port", body: "0", err: "not a number"},
		{name: "authority", file: "ca.crt", body: "no certificate", err: "PEM"},
		{name: "large", file: "host", body: strings.Repeat("a", 1<<20+1), err: "larger than"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			files := map[string]string{}
			for name, body := range good {
				if name == c.file {
					body = c.body
				}
				if body != "-" {
					files[name] = body
				}
			}
			writeStore(t, filepath.Join(dir, "telemetry"), files)
			access, err := Store{name: "telemetry", dir: dir}.Access()
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), "store telemetry") {
					t.Errorf("got %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if access.Host != "db.example" || access.Port != 5432 || access.Database != "telemetry" || access.Username != "fleet" || access.Password.Reveal() != " with spaces " {
				t.Errorf("got %+v", access)
			}
			if access.TLS.ServerName != "db.example" || access.TLS.RootCAs == nil || access.TLS.InsecureSkipVerify {
				t.Error("the server's certificate would not be verified")
			}
		})
	}
}

func TestStoreNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", ".", "..", "../etc", "a/b", "/etc"} {
		if _, err := (Store{name: name, dir: t.TempDir()}).Access(); err == nil || !strings.Contains(err.Error(), "not a name") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// While Kubernetes replaces a Secret, a reader sees the old one or the new one.
func TestStoreRotation(t *testing.T) {
	t.Parallel()
	const versions = 200
	root, ca := t.TempDir(), authority(t)
	dir := filepath.Join(root, "telemetry")
	put := func(n int) error {
		version := fmt.Sprintf("..v%d", n)
		writeStore(t, filepath.Join(dir, version), map[string]string{
			"host": "h", "port": "1", "database": "d", "ca.crt": ca,
			"username": fmt.Sprint("user", n), "password": fmt.Sprint("user", n),
		})
		if err := os.Symlink(version, filepath.Join(dir, "..tmp")); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
			return err
		}
		return os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..v%d", n-1)))
	}
	if err := put(0); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"host", "port", "database", "username", "password", "ca.crt"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	var writer sync.WaitGroup
	done, read := make(chan struct{}), make(chan struct{}, 1)
	writer.Go(func() {
		defer close(done)
		for n := 1; n < versions; n++ {
			if err := put(n); err != nil {
				t.Error(err)
				return
			}
			select { // no faster than the reader, who tries three times
			case <-read:
			case <-t.Context().Done():
				return
			}
		}
	})
	t.Cleanup(writer.Wait)
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		access, err := Store{name: "telemetry", dir: root}.Access()
		if err != nil {
			t.Fatal(err)
		}
		if access.Username != access.Password.Reveal() {
			t.Fatalf("user %s with the password of %s", access.Username, access.Password.Reveal())
		}
		select {
		case read <- struct{}{}:
		default:
		}
	}
}
