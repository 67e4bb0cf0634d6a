package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nines-ha/nines/fleet/traffic"
	"github.com/nines-ha/nines/record"
	"github.com/nines-ha/nines/service"
)

// readBack reads from the store itself what the load wrote, with the credentials
// that the service has.
func (s *stage) readBack(ctx context.Context, store string, vehicles *traffic.Traffic, tell func(record.Stored)) error {
	access, err := s.storeAccess(ctx, store)
	if err != nil {
		return err
	}
	dial := func(ctx context.Context, _, address string) (net.Conn, error) {
		return s.site.Ground.Dial(ctx, address)
	}
	return vehicles.Stored(ctx, access, dial, tell)
}

func (s *stage) storeAccess(ctx context.Context, store string) (service.StoreAccess, error) {
	var access service.StoreAccess
	secret, err := s.site.Kube.CoreV1().Secrets(s.site.Namespace).Get(ctx, "store-"+store, metav1.GetOptions{})
	if err != nil {
		return access, err
	}
	file := func(name string) string { return string(secret.Data[name]) }
	port, err := strconv.ParseUint(file("port"), 10, 16)
	if err != nil {
		return access, fmt.Errorf("secret store-%s: port: %w", store, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(secret.Data["ca.crt"]) {
		return access, fmt.Errorf("secret store-%s: ca.crt holds no certificate", store)
	}
	return service.StoreAccess{
		Host: file("host"), Port: uint16(port), Database: file("database"), Username: file("username"),
		Password: service.NewSecret(file("password")),
		TLS:      &tls.Config{RootCAs: roots, ServerName: file("host"), MinVersion: tls.VersionTLS12},
	}, nil
}
