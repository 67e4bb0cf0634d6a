package ground

import (
	"context"
	"net/http"
	"net/url"

	"github.com/nines-ha/nines/ground/world"
)

// A Flow is one TCP flow that a load balancer remembers, told as addresses with
// ports.
type Flow struct {
	Client   string
	Frontend string
	Node     string // that the load balancer chose, whether it answered or not
}

// Flows lists the flows of a region's load balancer. One that closed is
// remembered for a minute, another one for its idle time, four minutes by default.
func (c *Client) Flows(ctx context.Context, region string) ([]Flow, error) {
	var told []world.Flow
	if err := c.do(ctx, http.MethodGet, "/world/flows/"+url.PathEscape(region), nil, &told); err != nil {
		return nil, err
	}
	flows := make([]Flow, len(told))
	for i, f := range told {
		flows[i] = Flow{f.Client.String(), f.Frontend.String(), f.Node}
	}
	return flows, nil
}
