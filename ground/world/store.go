package world

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"

	"github.com/nines-ha/nines/ground/manifest"
	"github.com/nines-ha/nines/ground/postgres"
	"github.com/nines-ha/nines/internal/cgroup"
)

// store is a managed PostgreSQL in the first region, known to all.
type store struct {
	name    string
	part    string
	address netip.Addr
	server  *postgres.Server
	group   *cgroup.Group // freezing it suspends the server

	mu        sync.Mutex
	suspended bool
}

func newStore(w *World, k int, name string) *store {
	home := w.regions[0]
	s := &store{name: name, part: home.spec.Name + "/" + name, address: home.plan.Managed(k), group: w.group.Child("stores").Child(name)}
	s.server = postgres.New(postgres.Config{
		Name:    name,
		Region:  home.spec.Name,
		Host:    fmt.Sprintf("%s-%s.postgres.database.azure.com", w.spec.Name, name),
		Address: s.address,
		Root:    func() string { return w.arrivals.dir("root/" + postgres.RootName) },
		Dir:     filepath.Join(w.spec.Dirs.Run, "stores", name),
		Data:    filepath.Join(w.spec.Dirs.Data, "stores", name),
		LogDir:  w.spec.Dirs.Logs,
		Attach:  home.attachPlatform,
		Group:   s.group,
	})
	return s
}

// secret is how a service in the namespace learns to reach the store.
func (s *store) secret(namespace string) *manifest.Object {
	a := s.server.Access()
	data := map[string]any{}
	for key, value := range map[string]string{
		"host": a.Host, "port": a.Port, "database": a.Database,
		"username": a.Username, "password": a.Password, "ca.crt": string(a.CA),
	} {
		data[key] = base64.StdEncoding.EncodeToString([]byte(value))
	}
	return &manifest.Object{Object: map[string]any{
		"apiVersion": "v1",
		"kind":       "Secret",
		"metadata":   map[string]any{"name": "store-" + s.name, "namespace": namespace},
		"data":       data,
	}}
}
