package telemetry

import (
	"slices"

	"github.com/nines-ha/nines/fleet/vss"
)

// A Batch is rows of one vehicle in the order of the source.
type Batch struct {
	Vehicle vss.VIN
	Rows    []Row
}

// A Batcher sorts rows by vehicle until a batch is full. It never holds more
// than its limit: then every batch leaves as it is.
type Batcher struct {
	size, limit, held int
	open              map[vss.VIN]*Batch
	order             []vss.VIN
}

// NewBatcher makes batches of at most size rows and holds at most limit rows.
func NewBatcher(size, limit int) *Batcher {
	return &Batcher{size: max(size, 1), limit: max(limit, 1), open: map[vss.VIN]*Batch{}}
}

// Add takes a row and returns the batches that are ready to go.
func (b *Batcher) Add(row Row) []Batch {
	batch := b.open[row.Vehicle]
	if batch == nil {
		batch = &Batch{Vehicle: row.Vehicle}
		b.open[row.Vehicle] = batch
		b.order = append(b.order, row.Vehicle)
	}
	batch.Rows = append(batch.Rows, row)
	b.held++
	switch {
	case len(batch.Rows) >= b.size:
		delete(b.open, row.Vehicle)
		b.order = slices.DeleteFunc(b.order, func(v vss.VIN) bool { return v == row.Vehicle })
		b.held -= len(batch.Rows)
		return []Batch{*batch}
	case b.held >= b.limit:
		return b.Drain()
	}
	return nil
}

// Drain returns what is left, vehicles in the order in which they came.
func (b *Batcher) Drain() []Batch {
	var batches []Batch
	for _, vin := range b.order {
		batches = append(batches, *b.open[vin])
	}
	b.open, b.order, b.held = map[vss.VIN]*Batch{}, nil, 0
	return batches
}
