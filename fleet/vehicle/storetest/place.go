package storetest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	nobody      = 65534 // PostgreSQL refuses to run as root
	debianFiles = "/usr/lib/postgresql/15/bin"
)

var errMissing = errors.New("no PostgreSQL 15 here; make one with: mmdebstrap --variant=minbase --include=postgresql-15 bookworm " +
	"${XDG_CACHE_HOME:-~/.cache}/nines/roots/postgresql-15/test /etc/apt/sources.list.d/debian.sources, or set NINES_TEST_POSTGRES to a folder with initdb and postgres")

// A place is where the programs are: in the folder bin of this machine, or of
// a root file system that they must be started in.
type place struct{ root, bin string }

func find() (place, error) {
	candidates := []string{debianFiles}
	if cache, err := os.UserCacheDir(); err == nil {
		found, _ := filepath.Glob(filepath.Join(cache, "nines/roots/*/*", debianFiles))
		candidates = append(candidates, found...)
	}
	if asked := os.Getenv("NINES_TEST_POSTGRES"); asked != "" {
		candidates = []string{asked}
	}
	for _, bin := range candidates {
		if _, err := os.Stat(filepath.Join(bin, "initdb")); err != nil {
			continue
		}
		root, found := strings.CutSuffix(filepath.Clean(bin), debianFiles)
		if !found || root == "" {
			return place{"", bin}, nil
		}
		if os.Getuid() != 0 {
			continue // chroot needs root
		}
		return place{root, debianFiles}, nil
	}
	return place{}, errMissing
}

func (p place) temporary() string { return filepath.Join("/", p.root, "tmp") }

// directory is a path below temporary as the programs see it.
func (p place) directory(path string) string { return strings.TrimPrefix(path, p.root) }

func (p place) command(ctx context.Context, program string, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, filepath.Join(p.bin, program), arguments...)
	command.Env = []string{"PATH=" + p.bin + ":/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT, Chroot: p.root}
	if os.Getuid() == 0 {
		command.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{}}
	}
	return command
}

// issue makes an authority and a certificate of the server at 127.0.0.1.
func issue() (certificate, key, roots []byte, err error) {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	now := time.Now()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "storetest"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "postgres"},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	authorityBody, err := x509.CreateCertificate(rand.Reader, authority, authority, authorityKey.Public(), authorityKey)
	if err != nil {
		return nil, nil, nil, err
	}
	if authority, err = x509.ParseCertificate(authorityBody); err != nil {
		return nil, nil, nil, err
	}
	body, err := x509.CreateCertificate(rand.Reader, server, authority, serverKey.Public(), authorityKey)
	if err != nil {
		return nil, nil, nil, err
	}
	keyBody, err := x509.MarshalPKCS8PrivateKey(serverKey)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("encode key: %w", err)
	}
	roots = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authorityBody})
	certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: body})
	key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyBody})
	return certificate, key, roots, nil
}
