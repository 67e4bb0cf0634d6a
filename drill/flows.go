package drill

import (
	"context"
	"sync"
	"time"

	"github.com/nines-ha/nines/drill/fault"
	"github.com/nines-ha/nines/record"
)

// flows asks the load balancer where the connections of failed and slow requests
// went. It remembers a flow for a minute at least.
type flows struct {
	site fault.Site
	tell func(record.Line)
	done chan struct{}

	mu     sync.Mutex
	wanted map[string]bool
	told   map[string]bool
}

const lookEvery = 5 * time.Second

func followFlows(ctx context.Context, site fault.Site, tell func(record.Line)) *flows {
	f := &flows{site: site, tell: tell, done: make(chan struct{}), wanted: map[string]bool{}, told: map[string]bool{}}
	go func() {
		defer close(f.done)
		for pause(ctx, lookEvery) == nil {
			f.look(ctx)
		}
	}()
	return f
}

// request wants to know of failed and slow ones, or of all where no answer tells
// at which pod its connection ended.
func (f *flows) request(r *record.Request, slow time.Duration, all bool) {
	if r.Conn == "" || !all && !r.Failed() && (slow == 0 || r.Latency() <= slow) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.told[r.Conn] {
		f.wanted[r.Conn] = true
	}
}

func (f *flows) look(ctx context.Context) {
	f.mu.Lock()
	wanted := len(f.wanted)
	f.mu.Unlock()
	if f.site.Ground == nil || wanted == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookEvery)
	defer cancel()
	all, err := f.site.Ground.Flows(ctx, f.site.Region)
	if err != nil {
		return // evidence that is missing shows in the attribution
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, flow := range all {
		if f.wanted[flow.Client] {
			delete(f.wanted, flow.Client)
			f.told[flow.Client] = true
			f.tell(record.Line{Flow: &record.Flow{Conn: flow.Client, Node: flow.Node}})
		}
	}
}

func (f *flows) wait() { <-f.done }
