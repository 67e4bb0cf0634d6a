package store

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nines-ha/nines/fleet/vehicle/storetest"
	"github.com/nines-ha/nines/fleet/vss"
	"github.com/nines-ha/nines/service"
)

func TestReplicasMigrateTogether(t *testing.T) {
	access := server.Database(t)
	var group sync.WaitGroup
	for range 4 {
		s := open(t, access)
		group.Go(func() {
			if err := s.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	ingest(t, open(t, access), vin(t, 1), sample(0, map[string]float64{vss.Speed: 1}))
}

func TestWritesAreSynchronous(t *testing.T) {
	access := server.Database(t)
	now, err := access()
	if err != nil {
		t.Fatal(err)
	}
	server.Exec(t, "ALTER ROLE "+now.Username+" SET synchronous_commit = off")
	var setting string
	if err := open(t, access).pool.QueryRow(t.Context(), "SHOW synchronous_commit").Scan(&setting); err != nil || setting != "on" {
		t.Errorf("synchronous_commit is %q, %v", setting, err)
	}
}

func TestRotatedPasswordIsUsedByTheNextConnection(t *testing.T) {
	access := server.Database(t)
	var mu sync.Mutex
	password := ""
	s := open(t, func() (service.StoreAccess, error) {
		now, err := access()
		mu.Lock()
		defer mu.Unlock()
		if password != "" {
			now.Password = service.NewSecret(password)
		}
		return now, err
	})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	now, _ := access()
	server.Exec(t, "ALTER ROLE "+now.Username+" PASSWORD 'second'")
	s.pool.Reset()
	_, err := s.State(t.Context(), vin(t, 1))
	if !Unavailable(err) {
		t.Fatalf("old password: %v", err)
	}
	if strings.Contains(err.Error(), now.Password.Reveal()) {
		t.Errorf("the error tells the password: %v", err)
	}
	mu.Lock()
	password = "second"
	mu.Unlock()
	if _, err := s.State(t.Context(), vin(t, 1)); !errors.Is(err, ErrUnknownVehicle) {
		t.Errorf("new password: %v", err)
	}
}

func TestServerMustBeTheOneThatWasNamed(t *testing.T) {
	access := server.Database(t)
	for name, spoil := range map[string]func(*service.StoreAccess){
		"other name":  func(a *service.StoreAccess) { a.TLS.ServerName = "postgres.example" },
		"no roots":    func(a *service.StoreAccess) { a.TLS.RootCAs = nil },
		"no TLS":      func(a *service.StoreAccess) { a.TLS = nil },
		"not checked": func(a *service.StoreAccess) { a.TLS.InsecureSkipVerify = true },
	} {
		s := open(t, func() (service.StoreAccess, error) {
			now, err := access()
			spoil(&now)
			return now, err
		})
		if _, err := s.State(t.Context(), vin(t, 1)); err == nil || errors.Is(err, ErrUnknownVehicle) {
			t.Errorf("%s: connected, %v", name, err)
		}
	}
}

func TestDeadlineEndsTheStatementAndKeepsTheConnection(t *testing.T) {
	s := fresh(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := s.query(ctx, func(pgx.Rows) error { return nil }, "SELECT pg_sleep(60)")
	if !Late(err) || Unavailable(err) {
		t.Fatalf("got %v", err)
	}
	var setting string
	if err := s.pool.QueryRow(t.Context(), "SHOW statement_timeout").Scan(&setting); err != nil || setting != "5s" {
		t.Errorf("the budget of one call stays on the connection: %q, %v", setting, err)
	}
	var running int
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := s.pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()").Scan(&running)
		if err != nil {
			t.Fatal(err)
		}
		if running == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the server still sleeps")
		}
	}
}

// The row of the vehicle is held by another session: the write ends in time
// and leaves nothing.
func TestDeadlineWhileAnotherSessionHoldsTheVehicle(t *testing.T) {
	s, v := fresh(t), vin(t, 1)
	ingest(t, s, v, sample(0, map[string]float64{vss.Speed: 1}))
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT FROM vehicle FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = s.Ingest(ctx, v, []Sample{sample(1, map[string]float64{vss.Speed: 2})})
	if !Late(err) {
		t.Errorf("got %v", err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if track, err := s.Track(t.Context(), v, time.Time{}, time.Time{}, 10); err != nil || len(track) != 1 {
		t.Errorf("%v, %v", track, err)
	}
}

func TestServerGoesAndComesBack(t *testing.T) {
	own := storetest.Start()
	own.Require(t)
	defer own.Stop()
	s := open(t, own.Database(t))
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	ingest(t, s, vin(t, 1), sample(0, map[string]float64{vss.Speed: 1}))
	if err := own.Pause(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ingest(t.Context(), vin(t, 1), []Sample{sample(1, map[string]float64{vss.Speed: 1})}); !Unavailable(err) {
		t.Errorf("while it is away: %v", err)
	}
	if err := own.Resume(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		state, err := s.State(t.Context(), vin(t, 1))
		if err == nil && state[vss.Speed].Value == 1 {
			return
		}
		if !Unavailable(err) || time.Now().After(deadline) {
			t.Fatalf("after it came back: %v, %v", state, err)
		}
	}
}
