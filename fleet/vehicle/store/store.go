// Package store keeps vehicle telemetry in PostgreSQL: every sample, the newest
// value of every signal, and the newest position under an index by area. Call
// Open, then Migrate until it returns nil; after that Ingest, State, Track and
// Within may be called from any number of goroutines. A write has reached the
// disk of the server when Ingest returns. The package checks no signal, name
// or VIN (its caller does), never deletes, and does not retry.
package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nines-ha/nines/service"
)

// A Store is a pool of connections to one database.
type Store struct {
	pool *pgxpool.Pool
	sql  statements
}

// Limits of a connection and of the statements on it. The longest statement is
// the fence for a caller without a deadline; callers with one have it applied
// to every statement.
const (
	connectTimeout    = 3 * time.Second
	longestStatement  = 5 * time.Second
	longestIdleWithin = 10 * time.Second       // between two statements of a transaction
	cancelPatience    = 300 * time.Millisecond // for the answer to a statement that was cancelled
	connectionLife    = 5 * time.Minute        // so that a failover's new address is found
	connectionJitter  = time.Minute
	connectionIdle    = 2 * time.Minute
)

// Open prepares a pool of at most connections. It connects in the background
// and needs no server yet. Access is asked anew for each connection, so that a
// rotated password or authority is used without a restart.
func Open(ctx context.Context, access func() (service.StoreAccess, error), connections int32) (*Store, error) {
	// The host is replaced by BeforeConnect; sslmode keeps the parser from
	// adding a fallback without TLS.
	sql := newStatements()
	config, err := pgxpool.ParseConfig("host=replaced sslmode=require")
	if err != nil {
		return nil, fmt.Errorf("configure the pool: %w", err)
	}
	config.MaxConns = connections
	// All are made before they are needed, and know the long statements: a request
	// that has little time is not the one to wait for that.
	config.MinConns = connections
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error { return prepare(ctx, conn, sql) }
	config.MaxConnLifetime = connectionLife
	config.MaxConnLifetimeJitter = connectionJitter
	config.MaxConnIdleTime = connectionIdle
	config.HealthCheckPeriod = 15*time.Second + rand.N(time.Second)
	config.PingTimeout = connectTimeout
	config.ConnConfig.Tracer = tracer{}
	config.ConnConfig.ConnectTimeout = connectTimeout
	config.ConnConfig.Fallbacks = nil
	config.ConnConfig.RuntimeParams = map[string]string{
		"application_name":                    "vehicle",
		"synchronous_commit":                  "on",
		"statement_timeout":                   milliseconds(longestStatement),
		"idle_in_transaction_session_timeout": milliseconds(longestIdleWithin),
		"timezone":                            "UTC",
	}
	// Only a server that does not answer in time loses a connection. The caller of
	// the service still has to hear of it, before its own is cut.
	config.ConnConfig.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: cancelPatience}
	}
	config.BeforeConnect = func(_ context.Context, conn *pgx.ConnConfig) error {
		now, err := access()
		if err != nil {
			return err
		}
		if now.TLS == nil || now.TLS.RootCAs == nil || now.TLS.InsecureSkipVerify {
			return errors.New("store access without a verified TLS configuration; the platform must provide ca.crt")
		}
		conn.Host, conn.Port, conn.Database = now.Host, now.Port, now.Database
		conn.User, conn.Password = now.Username, now.Password.Reveal()
		conn.TLSConfig = now.TLS.Clone()
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open the pool: %w", err)
	}
	return &Store{pool: pool, sql: sql}, nil
}

// prepare has a server plan what every write asks. Before the schema is there it
// cannot, and the first write does it.
func prepare(ctx context.Context, conn *pgx.Conn, sql statements) error {
	for _, statement := range []string{sql.held, sql.upsert} {
		_, err := conn.Prepare(ctx, statement, statement)
		var reported *pgconn.PgError
		if errors.As(err, &reported) {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Close ends all connections when their work is done.
func (s *Store) Close() { s.pool.Close() }

// Connections says how many connections are in use, idle and allowed.
func (s *Store) Connections() (used, idle, limit int32) {
	stat := s.pool.Stat()
	return stat.AcquiredConns(), stat.IdleConns(), stat.MaxConns()
}

// ErrUnknownVehicle means that the vehicle never reported.
var ErrUnknownVehicle = errors.New("no such vehicle")

// Unavailable says whether an error is about reaching a working server, so that
// the same call may succeed soon. After it the outcome of a write is unknown.
func Unavailable(err error) bool {
	if err == nil || errors.Is(err, ErrUnknownVehicle) || Late(err) || errors.Is(err, context.Canceled) {
		return false
	}
	var reported *pgconn.PgError
	if !errors.As(err, &reported) {
		return true // the server did not say it: network, name, TLS, credentials on disk
	}
	if len(reported.Code) != 5 {
		return false
	}
	switch reported.Code[:2] {
	case "08", "53", "57", "28", "40": // connection, resources, shutdown, password, serialization
		return true
	}
	return reported.Code == "25006" || reported.Code == "3D000" // read-only standby, database not there yet
}

// Late says whether an error is the caller's deadline.
func Late(err error) bool {
	var reported *pgconn.PgError
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &reported) && reported.Code == "57014"
}

// begun is the context of work that has its connection: it has the time that the
// caller has left, also if the caller goes away, and a little more. The server ends
// what takes longer by itself, and the connection lives on. If each caller that gave
// up took its connection along, then when a database is slow there would be more and
// more connections to make, which is slower still: proxies that try again elsewhere
// give up early.
func begun(ctx context.Context) (context.Context, context.CancelFunc) {
	left := longestStatement
	if deadline, ok := ctx.Deadline(); ok {
		left = min(left, time.Until(deadline))
	}
	return context.WithTimeout(context.WithoutCancel(ctx), max(left, 0)+cancelPatience)
}

// budget is what is left to work that has begun in the form of statement_timeout.
func budget(ctx context.Context) string {
	left := longestStatement
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline) - cancelPatience
	}
	return milliseconds(max(left, time.Millisecond))
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
