package fault

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/nines-ha/nines/record"
)

func nodeLoss(_ context.Context, sc *scene) (*Injection, error) {
	node, err := sc.node()
	if err != nil {
		return nil, err
	}
	return &Injection{
		Touches: []string{fmt.Sprintf("cut the power of node %s in zone %s, which runs %s", node, sc.zoneOf(node), sc.share(node))},
		Heals:   []Heal{{Do: "power", Node: node}},
		inject:  sc.power(false, node),
	}, nil
}

func nodeHang(_ context.Context, sc *scene) (*Injection, error) {
	node, err := sc.node()
	if err != nil {
		return nil, err
	}
	return &Injection{
		Touches: []string{fmt.Sprintf("freeze every process of node %s in zone %s, which runs %s", node, sc.zoneOf(node), sc.share(node))},
		Heals:   []Heal{{Do: "thaw", Node: node}},
		inject: func(ctx context.Context, tell func(record.Event)) error {
			tell(sc.on(node, done, "node "+node+" hangs"))
			return sc.site.Ground.Freeze(ctx, node, true)
		},
	}, nil
}

// power cuts the power of nodes all at once, or gives it back.
func (sc *scene) power(on bool, nodes ...string) action {
	state, text := done, "power of node %s cut"
	if on {
		state, text = undone, "power of node %s back"
	}
	return func(ctx context.Context, tell func(record.Event)) error {
		for _, n := range nodes {
			tell(sc.on(n, state, fmt.Sprintf(text, n)))
		}
		all, ctx := errgroup.WithContext(ctx)
		for _, n := range nodes {
			all.Go(func() error { return sc.site.Ground.Power(ctx, n, on) })
		}
		return all.Wait()
	}
}
