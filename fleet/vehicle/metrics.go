package main

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/nines-ha/nines/fleet/vehicle/store"
)

// observe counts values by what became of them and watches the pool.
func observe(meter metric.Meter, telemetry *store.Store) (func(ctx context.Context, stored, held, refused int), error) {
	values, err := meter.Int64Counter("vehicle.values", metric.WithDescription("Signal values received, by what became of them"))
	if err != nil {
		return nil, err
	}
	_, err = meter.Int64ObservableGauge("db.client.connection.count", metric.WithDescription("Connections to the store"),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			used, idle, _ := telemetry.Connections()
			o.Observe(int64(used), metric.WithAttributes(attribute.String("state", "used")))
			o.Observe(int64(idle), metric.WithAttributes(attribute.String("state", "idle")))
			return nil
		}))
	if err != nil {
		return nil, err
	}
	_, err = meter.Int64ObservableGauge("db.client.connection.max", metric.WithDescription("Connections to the store that are allowed"),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			_, _, limit := telemetry.Connections()
			o.Observe(int64(limit))
			return nil
		}))
	if err != nil {
		return nil, err
	}
	outcome := func(name string) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(attribute.String("outcome", name)))
	}
	wasStored, wasHeld, wasRefused := outcome("stored"), outcome("duplicate"), outcome("refused")
	return func(ctx context.Context, stored, held, refused int) {
		values.Add(ctx, int64(stored), wasStored)
		values.Add(ctx, int64(held), wasHeld)
		values.Add(ctx, int64(refused), wasRefused)
	}, nil
}
