package drill

import (
	"context"

	"github.com/nines-ha/nines/drill/hops"
	"github.com/nines-ha/nines/record"
)

// readLogs follows the access logs of a mesh's proxies. What it gives back ends
// that, and says what is missing; it must be called.
func (r *run) readLogs(ctx context.Context) func(context.Context) []string {
	if !r.Site.Mesh {
		return func(context.Context) []string { return nil }
	}
	zones := map[string]string{}
	for _, n := range r.header.Nodes {
		zones[n.Name] = n.Zone
	}
	config := hops.Config{
		Kube: r.Site.Kube, Namespace: r.Site.Namespace, Started: r.header.Started,
		Zone: func(node string) string { return zones[node] },
		Tell: func(h record.Hop) { r.tell(record.Line{Hop: &h}) },
	}
	if r.Gateway != nil {
		config.Gateway = r.Gateway.Namespace
	}
	// What proxies wrote before a drill was interrupted explains it too.
	return hops.Start(context.WithoutCancel(ctx), config).Finish
}
