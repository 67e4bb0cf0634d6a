package api

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nines-ha/nines/fleet/vehicle/store"
	"github.com/nines-ha/nines/fleet/vehicle/wire"
	"github.com/nines-ha/nines/fleet/vss"
)

// BenchmarkState reads one vehicle three ways in one run: the bare query on a
// bare pool, the store, and the whole API over loopback HTTP.
func BenchmarkState(b *testing.B) {
	access := server.Database(b)
	s, err := store.Open(b.Context(), access, 6)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if err := s.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	_, err = s.Ingest(b.Context(), car, []store.Sample{{Time: time.Unix(1700000000, 0), Values: map[string]float64{vss.Speed: 1, vss.Latitude: 2, vss.Longitude: 3}}})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("query", func(b *testing.B) {
		now, err := access()
		if err != nil {
			b.Fatal(err)
		}
		config, err := pgxpool.ParseConfig("host=127.0.0.1 sslmode=require")
		if err != nil {
			b.Fatal(err)
		}
		config.ConnConfig.Port, config.ConnConfig.Database, config.ConnConfig.User = now.Port, now.Database, now.Username
		config.ConnConfig.Password, config.ConnConfig.TLSConfig = now.Password.Reveal(), now.TLS
		pool, err := pgxpool.NewWithConfig(b.Context(), config)
		if err != nil {
			b.Fatal(err)
		}
		defer pool.Close()
		for b.Loop() {
			rows, err := pool.Query(b.Context(), "SELECT signal, value, time_ns FROM state JOIN vehicle ON id = vehicle_id WHERE vin = $1", car)
			if err != nil {
				b.Fatal(err)
			}
			for rows.Next() {
			}
			if rows.Err() != nil {
				b.Fatal(rows.Err())
			}
		}
	})
	b.Run("store", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.State(b.Context(), car); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("http", func(b *testing.B) {
		web := httptest.NewServer(New(s, "test", Options{}))
		defer web.Close()
		c := &client{b, web.URL}
		for b.Loop() {
			if status, _, answer := c.do("GET", "/v1/vehicles/"+car, ""); status != 200 {
				b.Fatal(status, answer)
			}
		}
	})
}

// BenchmarkIngest posts new samples over loopback HTTP.
func BenchmarkIngest(b *testing.B) {
	for _, size := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			c := serve(b, Options{})
			next := int64(1_600_000_000)
			for b.Loop() {
				batch := wire.Batch{Samples: make([]wire.Sample, size)}
				for i := range batch.Samples {
					batch.Samples[i] = wire.Sample{Time: time.Unix(next, 0), Signals: map[string]float64{vss.Speed: 1, vss.Latitude: 2, vss.Longitude: 3}}
					next++
				}
				body, err := json.Marshal(batch)
				if err != nil {
					b.Fatal(err)
				}
				if receipt := c.post(car, string(body)); receipt.Accepted != size || receipt.Duplicates != 0 {
					b.Fatalf("%+v", receipt)
				}
			}
			b.ReportMetric(float64(next-1_600_000_000)/b.Elapsed().Seconds(), "samples/s")
		})
	}
}
