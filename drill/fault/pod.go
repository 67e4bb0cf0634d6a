package fault

import (
	"context"
	"fmt"

	"github.com/nines-ha/nines/record"
)

func podKill(_ context.Context, sc *scene) (*Injection, error) {
	victim := sc.pods[sc.dice.IntN(len(sc.pods))]
	return &Injection{
		Touches: []string{fmt.Sprintf("delete pod %s, one of the %d ready pods of %s, with no grace period", victim.Name, len(sc.pods), sc.site.Service)},
		inject: func(ctx context.Context, tell func(record.Event)) error {
			tell(record.Event{
				Kind: record.Fault, Name: victim.Name, State: done, Node: victim.Spec.NodeName, Zone: sc.zoneOf(victim.Spec.NodeName),
				Text: "pod " + victim.Name + " deleted with no grace period",
			})
			return sc.destroy(ctx, victim)
		},
	}, nil
}
