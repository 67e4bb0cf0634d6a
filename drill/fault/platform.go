package fault

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/record"
)

const (
	// apiserverAway is to the ground's node-monitor-grace-period of 10 s what 20 s
	// are to the 50 s of AKS. A server that is away for longer than that finds all
	// leases stale when it is back and calls every node lost for a while, here as
	// there.
	apiserverAway = 4 * time.Second
	storeStalled  = 8 * time.Second
	// restartWait is how long a killed program may take to run again.
	restartWait = time.Minute
)

func apiserverLoss(_ context.Context, sc *scene) (*Injection, error) {
	part := sc.site.Region + "/apiserver"
	client := sc.site.Ground
	return &Injection{
		Touches: []string{fmt.Sprintf("kill %s and keep it down for %s; services and their load balancer go on without it", part, apiserverAway)},
		Heals:   []Heal{{Do: "start", Part: part}},
		inject: func(ctx context.Context, tell func(record.Event)) error {
			tell(on(part, done, part+" killed and kept down"))
			if err := client.Halt(ctx, part, true); err != nil {
				return fmt.Errorf("halt %s: %w", part, err)
			}
			if err := pause(ctx, apiserverAway); err != nil {
				return err
			}
			if err := client.Halt(ctx, part, false); err != nil {
				return fmt.Errorf("start %s: %w", part, err)
			}
			tell(on(part, undone, part+" is back"))
			return nil
		},
	}, nil
}

// store is one of the site's, as a part of the ground.
func (sc *scene) store() string {
	return sc.ground.Regions[0].Name + "/" + sc.site.Stores[sc.dice.IntN(len(sc.site.Stores))]
}

func databaseRestart(_ context.Context, sc *scene) (*Injection, error) {
	part := sc.store()
	client := sc.site.Ground
	return &Injection{
		Touches: []string{fmt.Sprintf("kill the server of database %s with SIGKILL; it recovers and starts again by itself", part)},
		inject: func(ctx context.Context, tell func(record.Event)) error {
			before, err := processOf(ctx, client, part)
			if err != nil {
				return err
			}
			tell(on(part, done, part+" killed"))
			if err := client.Kill(ctx, part); err != nil {
				return fmt.Errorf("kill %s: %w", part, err)
			}
			ctx, cancel := context.WithTimeout(ctx, restartWait)
			defer cancel()
			return until(ctx, "wait for another "+part, func(ctx context.Context) error {
				now, err := processOf(ctx, client, part)
				if err == nil && (now == 0 || now == before) {
					err = fmt.Errorf("it does not run yet")
				}
				return err
			})
		},
	}, nil
}

func databaseStall(_ context.Context, sc *scene) (*Injection, error) {
	part := sc.store()
	client := sc.site.Ground
	return &Injection{
		Touches: []string{fmt.Sprintf("make the programs of database %s hold still for %s, their connections open and silent", part, storeStalled)},
		Heals:   []Heal{{Do: "resume", Part: part}},
		inject: func(ctx context.Context, tell func(record.Event)) error {
			tell(on(part, done, part+" holds still"))
			if err := client.Suspend(ctx, part, true); err != nil {
				return fmt.Errorf("suspend %s: %w", part, err)
			}
			if err := pause(ctx, storeStalled); err != nil {
				return err
			}
			if err := client.Suspend(ctx, part, false); err != nil {
				return fmt.Errorf("resume %s: %w", part, err)
			}
			tell(on(part, undone, part+" goes on"))
			return nil
		},
	}, nil
}

func on(part, state, text string) record.Event {
	return record.Event{Kind: record.Fault, Name: part, State: state, Text: text}
}

// processOf is the process of a part in the ground, 0 while there is none.
func processOf(ctx context.Context, client *ground.Client, part string) (int, error) {
	s, err := client.Status(ctx)
	if err != nil {
		return 0, err
	}
	var names []string
	for _, p := range s.Parts {
		if p.Name == part {
			return p.PID, nil
		}
		names = append(names, p.Name)
	}
	return 0, fmt.Errorf("the ground has no part %s; it has: %s", part, strings.Join(slices.Sorted(slices.Values(names)), ", "))
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
