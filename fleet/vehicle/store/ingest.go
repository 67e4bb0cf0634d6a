package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nines-ha/nines/fleet/vss"
)

// A Sample is what a vehicle reported at one time, by VSS name.
type Sample struct {
	Time   time.Time
	Values map[string]float64
}

// An Outcome says what became of one sample: Stored values are new, Held ones
// were there already with the same value, and Conflicts had another value,
// which stays.
type Outcome struct {
	Stored, Held int
	Conflicts    []Conflict // in the order of the names
}

// A Conflict is a value that was not taken because the vehicle had reported
// another one for the same time.
type Conflict struct {
	Signal     string
	Sent, Kept float64
}

// Ingest stores samples of a vehicle and returns one outcome for each, in
// order. It is safe to repeat: the first value for a vehicle, time and signal
// wins. All or nothing is stored; on an error the caller sends all again.
func (s *Store) Ingest(ctx context.Context, vin vss.VIN, samples []Sample) ([]Outcome, error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("ingest %d samples: %w", len(samples), err)
	}
	defer conn.Release()
	ctx, cancel := begun(ctx)
	defer cancel()
	var outcomes []Outcome
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		vehicle, held, err := s.lock(ctx, tx, vin, samples)
		if err != nil {
			return err
		}
		var changed map[int64]map[string]float64
		outcomes, changed = merge(held, samples)
		if len(changed) == 0 {
			return nil
		}
		return s.write(ctx, tx, vehicle, changed)
	})
	if err != nil {
		return nil, fmt.Errorf("ingest %d samples: %w", len(samples), err)
	}
	return outcomes, nil
}

// lock makes writes of one vehicle take turns and returns what is held at the
// times of the samples. Both statements travel together; the second sees all
// that was committed before the first got its lock.
func (s *Store) lock(ctx context.Context, tx pgx.Tx, vin vss.VIN, samples []Sample) (int64, map[int64]map[string]float64, error) {
	times := make([]int64, len(samples))
	for i, sample := range samples {
		times[i] = sample.Time.UnixNano()
	}
	var vehicle int64
	held := map[int64]map[string]float64{}
	read := func() error {
		batch := &pgx.Batch{}
		batch.Queue("SELECT set_config('statement_timeout', $1, true)", budget(ctx))
		batch.Queue("SELECT id FROM vehicle WHERE vin = $1 FOR NO KEY UPDATE", string(vin)).QueryRow(func(row pgx.Row) error {
			return row.Scan(&vehicle)
		})
		batch.Queue(s.sql.held, string(vin), times).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				sample, err := s.sql.scan(rows)
				if err != nil {
					return err
				}
				held[sample.Time.UnixNano()] = sample.Values
			}
			return rows.Err()
		})
		return tx.SendBatch(ctx, batch).Close()
	}
	err := read()
	if errors.Is(err, pgx.ErrNoRows) {
		if _, err := tx.Exec(ctx, "INSERT INTO vehicle (vin) VALUES ($1) ON CONFLICT DO NOTHING", string(vin)); err != nil {
			return 0, nil, err
		}
		err = read()
	}
	return vehicle, held, err
}

// merge applies samples in order to what is held and says what is new.
func merge(held map[int64]map[string]float64, samples []Sample) ([]Outcome, map[int64]map[string]float64) {
	outcomes := make([]Outcome, len(samples))
	changed := map[int64]map[string]float64{}
	for i, sample := range samples {
		at := sample.Time.UnixNano()
		have := held[at]
		if have == nil {
			have = map[string]float64{}
			held[at] = have
		}
		for _, name := range slices.Sorted(maps.Keys(sample.Values)) {
			value := sample.Values[name]
			kept, exists := have[name]
			switch {
			case exists && kept == value:
				outcomes[i].Held++
			case exists:
				outcomes[i].Conflicts = append(outcomes[i].Conflicts, Conflict{name, value, kept})
			default:
				outcomes[i].Stored++
				have[name] = value
				if changed[at] == nil {
					changed[at] = map[string]float64{}
				}
				changed[at][name] = value
			}
		}
	}
	return outcomes, changed
}

// write stores new values, and moves the state and the position forward where
// they are newer.
func (s *Store) write(ctx context.Context, tx pgx.Tx, vehicle int64, changed map[int64]map[string]float64) error {
	times := slices.Sorted(maps.Keys(changed))
	arguments := []any{vehicle, times}
	for _, c := range s.sql.columns {
		values := make([]*float64, len(times))
		for i, at := range times {
			if value, ok := changed[at][c.signal]; ok {
				values[i] = &value
			}
		}
		arguments = append(arguments, values)
	}
	newest := map[string]int64{}
	for _, at := range times {
		for name := range changed[at] {
			newest[name] = at
		}
	}
	names := slices.SortedFunc(maps.Keys(newest), cmp.Compare)
	values, valueTimes := make([]float64, len(names)), make([]int64, len(names))
	for i, name := range names {
		values[i], valueTimes[i] = changed[newest[name]][name], newest[name]
	}
	batch := &pgx.Batch{}
	batch.Queue("SELECT set_config('statement_timeout', $1, true)", budget(ctx))
	batch.Queue(s.sql.upsert, arguments...)
	batch.Queue(`INSERT INTO state (vehicle_id, signal, value, time_ns)
		SELECT $1, * FROM unnest($2::text[], $3::double precision[], $4::bigint[])
		ON CONFLICT (vehicle_id, signal) DO UPDATE SET value = excluded.value, time_ns = excluded.time_ns
		WHERE state.time_ns < excluded.time_ns`, vehicle, names, values, valueTimes)
	if at, ok := newest[vss.Latitude]; ok {
		batch.Queue(`INSERT INTO last_position (vehicle_id, place, time_ns) VALUES ($1, point($2, $3), $4)
			ON CONFLICT (vehicle_id) DO UPDATE SET place = excluded.place, time_ns = excluded.time_ns
			WHERE last_position.time_ns < excluded.time_ns`, vehicle, changed[at][vss.Longitude], changed[at][vss.Latitude], at)
	}
	return tx.SendBatch(ctx, batch).Close()
}

func fromNanoseconds(at int64) time.Time { return time.Unix(0, at).UTC() }
