package store

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nines-ha/nines/fleet/vss"
)

// A Value is a signal's value and when the vehicle reported it.
type Value struct {
	Value float64
	Time  time.Time
}

// State returns the newest value of every signal, or ErrUnknownVehicle.
func (s *Store) State(ctx context.Context, vin vss.VIN) (map[string]Value, error) {
	state := map[string]Value{}
	err := s.query(ctx, func(rows pgx.Rows) error {
		var name string
		var value float64
		var at int64
		if err := rows.Scan(&name, &value, &at); err != nil {
			return err
		}
		state[name] = Value{value, fromNanoseconds(at)}
		return nil
	}, "SELECT signal, value, time_ns FROM state JOIN vehicle ON id = vehicle_id WHERE vin = $1", string(vin))
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	if len(state) == 0 {
		return nil, ErrUnknownVehicle
	}
	return state, nil
}

// Track returns samples in order of time: from is included, before is not. Zero
// times are open ends. It returns at most limit samples; the next page is
// from one nanosecond after the last.
func (s *Store) Track(ctx context.Context, vin vss.VIN, from, before time.Time, limit int) ([]Sample, error) {
	first, end := int64(math.MinInt64), int64(math.MaxInt64)
	if !from.IsZero() {
		first = from.UnixNano()
	}
	if !before.IsZero() {
		end = before.UnixNano()
	}
	var track []Sample
	err := s.query(ctx, func(rows pgx.Rows) error {
		sample, err := s.sql.scan(rows)
		track = append(track, sample)
		return err
	}, s.sql.track, string(vin), first, end, limit)
	if err != nil {
		return nil, fmt.Errorf("read track: %w", err)
	}
	if len(track) == 0 {
		return nil, s.known(ctx, vin)
	}
	return track, nil
}

// known tells a vehicle with nothing to show from one that never reported.
func (s *Store) known(ctx context.Context, vin vss.VIN) error {
	found := false
	err := s.query(ctx, func(pgx.Rows) error { found = true; return nil }, "SELECT FROM vehicle WHERE vin = $1", string(vin))
	if err != nil {
		return fmt.Errorf("read vehicle: %w", err)
	}
	if !found {
		return ErrUnknownVehicle
	}
	return nil
}

// A Box is an area between two meridians and two parallels, edges included. Its
// west may be greater than its east: then it crosses the 180th meridian.
type Box struct{ West, South, East, North float64 }

// A Place is where a vehicle was last, and when.
type Place struct {
	VIN                 vss.VIN
	Latitude, Longitude float64
	Time                time.Time
}

// Within returns the vehicles whose last position is in a box, in order of VIN
// after the given one, at most limit.
func (s *Store) Within(ctx context.Context, box Box, after vss.VIN, limit int) ([]Place, error) {
	left, right := box, box
	if box.West > box.East {
		left.East, right.West = 180, -180
	}
	var places []Place
	err := s.query(ctx, func(rows pgx.Rows) error {
		var place Place
		var at int64
		if err := rows.Scan(&place.VIN, &place.Longitude, &place.Latitude, &at); err != nil {
			return err
		}
		place.Time = fromNanoseconds(at)
		places = append(places, place)
		return nil
	}, `SELECT vin, place[0], place[1], time_ns FROM last_position JOIN vehicle ON id = vehicle_id
		WHERE (place <@ box(point($1, $2), point($3, $4)) OR place <@ box(point($5, $6), point($7, $8))) AND vin > $9
		ORDER BY vin LIMIT $10`,
		left.West, left.South, left.East, left.North, right.West, right.South, right.East, right.North, string(after), limit)
	if err != nil {
		return nil, fmt.Errorf("read positions: %w", err)
	}
	return places, nil
}

// query runs one statement under the caller's deadline, in one round trip.
func (s *Store) query(ctx context.Context, each func(pgx.Rows) error, statement string, arguments ...any) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	ctx, cancel := begun(ctx)
	defer cancel()
	batch := &pgx.Batch{}
	batch.Queue("SELECT set_config('statement_timeout', $1, true)", budget(ctx))
	batch.Queue(statement, arguments...).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			if err := each(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	return conn.SendBatch(ctx, batch).Close()
}
