package git

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

// StageName is the first argument that makes the program a Git host.
const StageName = "stage-git"

// settings are what the host is told, in a file that only root can read.
type settings struct {
	Listen    string
	Cert, Key []byte
	Users     []user
	UID, GID  int
}

// Stage is the program of a Git host, in its root file system. It opens its port
// and reads its settings as root, then becomes another user for good, and serves
// until it is told to end.
func Stage() error {
	body, err := os.ReadFile(settingsFile)
	if err != nil {
		return err
	}
	var s settings
	if err := json.Unmarshal(body, &s); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	l, err := net.Listen("tcp4", s.Listen)
	if err != nil {
		return err
	}
	defer l.Close()
	syscall.Umask(0o077)
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(s.GID), syscall.Setuid(s.UID)); err != nil {
		return fmt.Errorf("become user %d: %w", s.UID, err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	pair, err := tls.X509KeyPair(s.Cert, s.Key)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	return newServer(dataDir, s.Users, slog.New(slog.NewTextHandler(os.Stdout, nil))).serve(ctx, l, pair)
}

// serve answers until ctx ends, then lets what is under way come to its end.
func (s *server) serve(ctx context.Context, l net.Listener, pair tls.Certificate) error {
	server := s.bounded()
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(newNarrow(l, maxConnections), "", "") }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.grace)
	defer cancel()
	if server.Shutdown(end) != nil {
		server.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
