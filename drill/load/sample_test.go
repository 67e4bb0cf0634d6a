package load

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nines-ha/nines/record"
)

// The share that is asked for asks to be traced, a later attempt like its first,
// and the header says what the record does.
func TestSampleAsksToBeTraced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		c := policy(&j, 2*time.Second)
		c.Sample = 0.25
		_, got := retrying(t, c, func(n, _ int, r *http.Request) string {
			if !strings.Contains(r.Header.Get("X-Request-Id"), ".") {
				return refusal + "\r\n"
			}
			return good
		})
		sampled := map[string]bool{}
		firsts, asking := 0, 0
		for _, r := range j.requests {
			sampled[r.ID] = r.Sampled
			if r.Of == "" {
				if firsts++; r.Sampled {
					asking++
				}
			}
		}
		if firsts == 0 || asking != firsts/4 {
			t.Errorf("%d of %d requests ask to be traced, want a quarter", asking, firsts)
		}
		for _, r := range j.requests {
			if r.Of != "" && r.Sampled != sampled[r.Of] {
				t.Errorf("%s: sampled %v, its first attempt %v", r.ID, r.Sampled, sampled[r.Of])
			}
		}
		for _, r := range got {
			id := r.Header.Get("X-Request-Id")
			if want := record.TraceParent(id, sampled[id]); r.Header.Get("Traceparent") != want || !strings.HasPrefix(id, Label(c.Seed)) {
				t.Errorf("%s: traceparent %q, want %q", id, r.Header.Get("Traceparent"), want)
			}
			if want := map[bool]string{true: id}[sampled[id]]; r.Header.Get("X-Client-Trace-Id") != want {
				t.Errorf("%s asks Envoy with %q, want %q", id, r.Header.Get("X-Client-Trace-Id"), want)
			}
		}
	})
}
