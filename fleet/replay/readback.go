package replay

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nines-ha/nines/fleet/telemetry"
	"github.com/nines-ha/nines/fleet/vehicle/wire"
	"github.com/nines-ha/nines/fleet/vss"
)

// A ledger holds the accepted values of a window by vehicle. Two rows of one
// time stay two entries, and both must be found.
type ledger map[vss.VIN][]telemetry.Row

func (l ledger) enter(batch telemetry.Batch) {
	for _, row := range batch.Rows {
		if len(row.Values) > 0 {
			l[batch.Vehicle] = append(l[batch.Vehicle], row)
		}
	}
}

// readBack compares the ledger with the tracks that the service answers.
func (r *run) readBack(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.Concurrency)
	for _, vin := range slices.Sorted(maps.Keys(r.sent)) {
		rows := r.sent[vin]
		group.Go(func() error { return r.compare(ctx, vin, rows) })
	}
	return group.Wait()
}

// compare walks a vehicle's track beside its rows, both in order of time. What
// the service holds beyond them is of other replays and no fault.
func (r *run) compare(ctx context.Context, vin vss.VIN, rows []telemetry.Row) error {
	slices.SortStableFunc(rows, func(a, b telemetry.Row) int { return a.Time.Compare(b.Time) })
	from, to := rows[0].Time, rows[len(rows)-1].Time.Add(1)
	cursor := ""
	for {
		page, err := r.client.track(ctx, vin, from, to, cursor)
		if err != nil {
			return fmt.Errorf("read back %s: %w", vin, err)
		}
		upTo := to
		if page.Next != "" {
			if len(page.Samples) == 0 || page.Next == cursor {
				return fmt.Errorf("read back %s: the pages of its track do not go on", vin)
			}
			upTo = page.Samples[len(page.Samples)-1].Time.Add(1)
		}
		n, _ := slices.BinarySearchFunc(rows, upTo, func(row telemetry.Row, at time.Time) int { return row.Time.Compare(at) })
		r.judge(vin, rows[:n], page.Samples)
		rows = rows[n:]
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}

func (r *run) judge(vin vss.VIN, rows []telemetry.Row, samples []wire.Sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	result := &r.report.ReadBack
	i := 0
	for _, row := range rows {
		for i < len(samples) && samples[i].Time.Before(row.Time) {
			i++
		}
		var held map[string]float64
		if i < len(samples) && samples[i].Time.Equal(row.Time) {
			held = samples[i].Signals
		}
		result.Rows++
		for name, sent := range row.Values {
			result.Values++
			got, exists := held[name]
			switch {
			case !exists:
				result.Missing++
				result.example(fmt.Sprintf("%s %s %s: sent %v, not held", vin, row.Time.Format(time.RFC3339Nano), name, sent))
			case got != sent:
				result.Different++
				result.example(fmt.Sprintf("%s %s %s: sent %v, held %v", vin, row.Time.Format(time.RFC3339Nano), name, sent, got))
			}
		}
	}
}
