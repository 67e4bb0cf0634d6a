package fault

import (
	"context"
	"fmt"
	"time"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/record"
)

// An Overload is more load than a service can answer. The load is the drill's; the
// fault is what makes sure that it is too much: on one machine load and service
// share the CPUs, and who sends five times what the service can answer has none
// left to measure with. So all replicas are made to serve little, and exactly so.
type Overload struct {
	Serves float64       // requests a second, all replicas together
	Peak   float64       // requests a second that are sent
	Length time.Duration // of the peak
}

// overload impairs every replica alike before the load begins, until all is healed.
// Each serves one request at a time, so that what it serves in a second is known
// whatever it is asked, and how long one waits is how many there are before it.
func overload(ctx context.Context, sc *scene) (*Injection, error) {
	o := sc.site.Overload
	if !(o.Serves > 0 && o.Peak > o.Serves) {
		return nil, fmt.Errorf("%g requests a second are no overload of what serves %g", o.Peak, o.Serves)
	}
	each := time.Duration(float64(len(sc.pods)) / o.Serves * float64(time.Second))
	name, region := sc.site.Service, sc.site.Region
	i := &Injection{
		Touches: []string{
			fmt.Sprintf("make each of the %d ready pods of %s serve one request at a time, %s each, so that together they serve %.4g a second; what comes meanwhile waits at the pod, in line; its probes notice nothing", len(sc.pods), name, each.Round(100*time.Microsecond), o.Serves),
			fmt.Sprintf("send %.4g requests a second for %s, %.3g times that", o.Peak, o.Length, o.Peak/o.Serves),
		},
		inject: func(ctx context.Context, tell func(record.Event)) error {
			tell(record.Event{Kind: record.Fault, Name: name, State: done, Text: fmt.Sprintf("%.4g requests a second, where %.4g can be answered", o.Peak, o.Serves)})
			if err := pause(ctx, o.Length); err != nil {
				return err
			}
			tell(record.Event{Kind: record.Fault, Name: name, State: undone, Text: "no more than can be answered"})
			return nil
		},
	}
	var all []ground.Impairment
	for _, p := range sc.pods {
		port, err := sc.portOf(ctx, &p)
		if err != nil {
			return nil, err
		}
		all = append(all, ground.Impairment{Namespace: p.Namespace, Pod: p.Name, Port: port, AtOnce: 1, Delay: each})
		i.Heals = append(i.Heals, Heal{Do: "mend", Region: region, Namespace: p.Namespace, Name: p.Name})
	}
	i.before = func(ctx context.Context, tell func(record.Event)) error {
		for _, what := range all {
			tell(record.Event{Kind: record.Fault, Name: what.Pod, State: done, Text: fmt.Sprintf("pod %s serves one request at a time, %s each", what.Pod, each.Round(100*time.Microsecond))})
			if err := sc.site.Ground.Impair(ctx, region, what); err != nil {
				return err
			}
		}
		return nil
	}
	return i, nil
}
