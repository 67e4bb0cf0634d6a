// Package replay sends telemetry to a vehicle service and reads all of it back
// to compare. Fill a Plan and call Run; the Report says what was accepted, what
// was refused and why, and whether what is held equals what was sent. It sends
// as fast as the service answers or at a multiple of the time in the data, and
// is no load test: a slow service slows it down.
package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nines-ha/nines/fleet/telemetry"
	"github.com/nines-ha/nines/fleet/vehicle/wire"
	"github.com/nines-ha/nines/fleet/vss"
)

// A Plan says what to replay, where to and how fast.
type Plan struct {
	URL         string // of the vehicle service
	Source      *telemetry.Source
	Speed       float64 // times as fast as in the data; 0: as fast as the service takes it
	Vehicles    int     // take only the first so many vehicles; 0: all
	Limit       int     // take at most so many rows; 0: all
	Concurrency int     // requests at once; 0: 8
	Verify      bool    // read back and compare
	// Progress is called about every Every until Run returns, from one goroutine.
	Progress func(Progress)
	Every    time.Duration

	window int // 0: windowRows
}

// Progress is how far a replay has come.
type Progress struct {
	Phase    string // "send" or "read back"
	Rows     int    // read from the source
	Accepted int
	Checked  int // rows read back
	Retries  int
	At       time.Time // in the data; zero before the first row
	Elapsed  time.Duration
}

const (
	// batchRows a request at most, and heldRows waiting over all vehicles.
	batchRows = 500
	heldRows  = 20_000
	// windowRows are sent before they are read back, so that memory does not
	// grow with the file.
	windowRows = 100_000
	// ahead is how early a row may be sent; it keeps small sleeps away.
	ahead = 200 * time.Millisecond
)

type run struct {
	Plan
	client *client
	began  time.Time

	mu       sync.Mutex
	report   Report
	progress Progress
	seen     map[vss.VIN]bool
	sent     ledger
}

// Run replays. The report is of use with an error too: it tells how far it came.
func Run(ctx context.Context, plan Plan) (Report, error) {
	if plan.Concurrency <= 0 {
		plan.Concurrency = 8
	}
	if plan.window <= 0 {
		plan.window = windowRows
	}
	client, err := newClient(plan.URL, plan.Concurrency)
	if err != nil {
		return Report{}, err
	}
	defer client.close()
	r := &run{Plan: plan, client: client, began: time.Now(), seen: map[vss.VIN]bool{}, sent: ledger{}}
	r.report = Report{Source: plan.Source.Name, Notes: plan.Source.Notes, URL: plan.URL, Reasons: map[string]int{}}
	if err := client.probe(ctx); err != nil {
		return r.report, err
	}
	stop := r.tell()
	err = r.windows(ctx)
	stop()
	r.report.finish(time.Since(r.began), len(r.seen), client.requests(), client.retries())
	return r.report, err
}

// windows sends and reads back until the source is empty.
func (r *run) windows(ctx context.Context) error {
	pace := pacer{speed: r.Speed}
	for done := false; !done; {
		r.phase("send")
		var err error
		if done, err = r.send(ctx, &pace); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if r.Verify {
			r.phase("read back")
			if err := r.readBack(ctx); err != nil {
				return err
			}
		}
		r.sent = ledger{}
	}
	return nil
}

// send takes rows until a window is full or the source is empty, and returns
// when all of them are answered.
func (r *run) send(ctx context.Context, pace *pacer) (done bool, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.Concurrency)
	batcher := telemetry.NewBatcher(batchRows, heldRows)
	dispatch := func(batches []telemetry.Batch) {
		for _, batch := range batches {
			group.Go(func() error { return r.post(ctx, batch) })
		}
	}
	rows := 0
	for rows < r.window && ctx.Err() == nil {
		if r.Limit > 0 && r.report.Rows >= r.Limit {
			done = true
			break
		}
		row, readErr := r.Source.Next()
		if readErr == io.EOF {
			done = true
			break
		}
		if readErr != nil {
			err = fmt.Errorf("read telemetry: %w", readErr)
			break
		}
		if !r.take(row) {
			continue
		}
		rows++
		if len(row.Values) == 0 {
			continue
		}
		if wait := pace.wait(row.Time, time.Now()); wait >= ahead {
			dispatch(batcher.Drain())
			if err := sleep(ctx, wait); err != nil {
				break
			}
		}
		dispatch(batcher.Add(row))
	}
	dispatch(batcher.Drain())
	return done, errors.Join(err, group.Wait())
}

// take counts a row and says whether it belongs to the replay.
func (r *run) take(row telemetry.Row) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if row.Vehicle != "" && !r.seen[row.Vehicle] {
		if r.Vehicles > 0 && len(r.seen) >= r.Vehicles {
			return false
		}
		r.seen[row.Vehicle] = true
	}
	r.report.Rows++
	for _, refusal := range row.Refused {
		r.report.refuse("source", refusal.Subject, refusal.Reason)
	}
	if len(row.Values) == 0 {
		r.report.RefusedRows++
	} else {
		r.progress.At = row.Time
	}
	return true
}

// post sends one batch and enters what was accepted into the ledger.
func (r *run) post(ctx context.Context, batch telemetry.Batch) error {
	body := wire.Batch{Samples: make([]wire.Sample, len(batch.Rows))}
	for i, row := range batch.Rows {
		body.Samples[i] = wire.Sample{Time: row.Time, Signals: row.Values}
	}
	receipt, err := r.client.post(ctx, batch.Vehicle, body)
	if err != nil {
		return fmt.Errorf("send %d rows of %s: %w", len(batch.Rows), batch.Vehicle, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Accepted += receipt.Accepted
	r.report.RefusedRows += len(batch.Rows) - receipt.Accepted
	r.report.Duplicates += receipt.Duplicates
	for _, refusal := range receipt.Refused {
		r.report.refuse("service", refusal.Signal, string(refusal.Code))
		if refusal.Sample < 0 || refusal.Sample >= len(batch.Rows) {
			return fmt.Errorf("send to %s: the receipt names sample %d of %d", batch.Vehicle, refusal.Sample, len(batch.Rows))
		}
		if refusal.Signal == "" {
			clear(batch.Rows[refusal.Sample].Values)
		}
		delete(batch.Rows[refusal.Sample].Values, refusal.Signal)
	}
	if r.Verify {
		r.sent.enter(batch)
	}
	return nil
}

func (r *run) phase(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress.Phase = name
}

// tell reports progress until stop is called, and once more then.
func (r *run) tell() (stop func()) {
	if r.Progress == nil {
		return func() {}
	}
	every := max(r.Every, 10*time.Millisecond)
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
			case <-end:
				r.Progress(r.snapshot())
				return
			}
			r.Progress(r.snapshot())
		}
	}()
	return func() { close(end); <-ended }
}

func (r *run) snapshot() Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.progress
	p.Rows, p.Accepted, p.Checked = r.report.Rows, r.report.Accepted, r.report.ReadBack.Rows
	p.Retries, p.Elapsed = r.client.retries(), time.Since(r.began)
	return p
}

// A pacer maps time in the data to time on the clock.
type pacer struct {
	speed        float64
	began, first time.Time
}

func (p *pacer) wait(at, now time.Time) time.Duration {
	if p.speed <= 0 {
		return 0
	}
	if p.first.IsZero() {
		p.began, p.first = now, at
	}
	due := p.began.Add(time.Duration(float64(at.Sub(p.first)) / p.speed))
	return due.Sub(now)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
