package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/nines-ha/nines/fleet/vss"
)

// Everything tells each row that is held of the given vehicles, in order of
// vehicle and time, over a connection of the caller's. It is for whoever checks
// the service from beside it: no page, no limit, no deadline but the context's.
// An error of tell ends it.
func Everything(ctx context.Context, conn *pgx.Conn, vehicles []vss.VIN, tell func(vss.VIN, Sample) error) error {
	names := make([]string, len(vehicles))
	for i, vin := range vehicles {
		names[i] = string(vin)
	}
	sql := newStatements()
	rows, err := conn.Query(ctx, sql.everything, names)
	if err != nil {
		return fmt.Errorf("read samples: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var vin vss.VIN
		sample, err := sql.scan(rows, &vin)
		if err != nil {
			return fmt.Errorf("read samples: %w", err)
		}
		if err := tell(vin, sample); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read samples: %w", err)
	}
	return nil
}
