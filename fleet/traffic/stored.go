package traffic

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/nines-ha/nines/fleet/vehicle/store"
	"github.com/nines-ha/nines/fleet/vss"
	"github.com/nines-ha/nines/record"
	"github.com/nines-ha/nines/service"
)

const (
	connectTimeout = 10 * time.Second
	atOnce         = 500 // vehicles a statement
)

// Stored reads all that the store holds of these vehicles, not through the
// service but from PostgreSQL itself, and tells each thing once. dial gets the
// host as the credentials name it, not resolved; nil dials as usual. An error
// means that not all was told.
func (t *Traffic) Stored(ctx context.Context, access service.StoreAccess, dial pgconn.DialFunc, tell func(record.Stored)) error {
	conn, err := connect(ctx, access, dial)
	if err != nil {
		return fmt.Errorf("connect to the store at %s: %w", access.Host, err)
	}
	defer func() {
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(after)
	}()
	vehicles := make([]vss.VIN, len(t.vehicles))
	for i := range t.vehicles {
		vehicles[i] = t.vehicles[i].vin
	}
	var held record.Stored
	release := func() {
		if held.Copies > 0 {
			tell(held)
		}
		held = record.Stored{}
	}
	for part := range slices.Chunk(vehicles, atOnce) {
		err := store.Everything(ctx, conn, part, func(vin vss.VIN, sample store.Sample) error {
			next := record.Stored{Entity: string(vin), Version: sample.Time.UnixNano(), Sum: Sum(sample.Values), Copies: 1}
			if held.Entity == next.Entity && held.Version == next.Version && held.Sum == next.Sum {
				held.Copies++
				return nil
			}
			release()
			held = next
			return nil
		})
		if err != nil {
			return err
		}
		release()
	}
	return nil
}

// connect makes one connection that trusts nobody but the store's authority.
func connect(ctx context.Context, access service.StoreAccess, dial pgconn.DialFunc) (*pgx.Conn, error) {
	if access.TLS == nil || access.TLS.RootCAs == nil || access.TLS.InsecureSkipVerify {
		return nil, errors.New("the credentials have no authority to verify it by")
	}
	// The host is replaced below; sslmode keeps the parser from adding a fallback
	// without TLS.
	config, err := pgx.ParseConfig("host=replaced sslmode=require")
	if err != nil {
		return nil, err
	}
	config.Host, config.Port, config.Database = access.Host, access.Port, access.Database
	config.User, config.Password = access.Username, access.Password.Reveal()
	config.TLSConfig, config.Fallbacks = access.TLS.Clone(), nil
	config.ConnectTimeout = connectTimeout
	config.RuntimeParams = map[string]string{"application_name": "read-back", "default_transaction_read_only": "on", "timezone": "UTC"}
	if dial != nil {
		config.DialFunc = dial
		config.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	}
	return pgx.ConnectConfig(ctx, config)
}
