package ground

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/nines-ha/nines/ground/collector"
)

// Traces are spans that the pods of a region exported, numbered from 1.
type Traces = collector.Batch

// A Span is what is kept of one.
type Span = collector.Span

// ServerSpan is the kind of a span of who is asked.
const ServerSpan = collector.Server

// Traces gives the spans that a region's collector was sent after number n, the
// oldest first, a few thousand at once: ask again after the last until there are
// none. It keeps the newest 100,000.
func (c *Client) Traces(ctx context.Context, region string, n uint64) (t Traces, err error) {
	return t, c.do(ctx, http.MethodGet, fmt.Sprintf("/world/traces/%s/%d", url.PathEscape(region), n), nil, &t)
}
