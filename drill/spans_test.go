package drill

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nines-ha/nines/drill/load"
	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/record"
)

const seed = 7

// exports stands for a ground that answers what has been told by now, two at once.
type exports struct {
	all  []ground.Span
	lost uint64 // told once, of what was asked for
	err  error
}

func (e *exports) fetch(_ context.Context, after uint64) (ground.Traces, error) {
	if e.err != nil {
		return ground.Traces{}, e.err
	}
	after = min(after, uint64(len(e.all)))
	last := min(after+2, uint64(len(e.all)))
	batch := ground.Traces{Spans: e.all[after:last], Last: last}
	if last > after {
		batch.Lost, e.lost = e.lost, 0
	}
	return batch, nil
}

func reading(e *exports, into *[]record.Span) *spans {
	return &spans{
		fetch: e.fetch, label: load.Label(seed), gateway: "aks-istio-ingress", started: time.Unix(1000, 0),
		tell: func(l record.Line) { *into = append(*into, *l.Span) },
	}
}

func exportedSpan(id string, change func(*ground.Span)) ground.Span {
	trace, _ := record.TraceOf(id)
	s := ground.Span{Trace: trace, ID: "00f067aa0ba902b7", Parent: "53995c3f42cd8ad8", Name: "GET", Start: time.Unix(1003, 0), End: time.Unix(1003, 5)}
	if change != nil {
		change(&s)
	}
	return s
}

// Spans of the run's requests join the record, each from its place; those of others,
// and those from before, do not.
func TestSpansJoin(t *testing.T) {
	own := load.Label(seed) + "-000000000000001f.2"
	e := &exports{all: []ground.Span{exportedSpan(own, nil)}}
	var told []record.Span
	s := reading(e, &told)
	s.skip(t.Context())
	places := []struct {
		want   string
		change func(*ground.Span)
	}{
		{record.AtGateway, func(s *ground.Span) {
			s.Proxy, s.Service = true, "aks-istio-ingressgateway-external.aks-istio-ingress"
		}},
		{record.Inbound, func(s *ground.Span) { s.Proxy, s.Kind, s.Service = true, ground.ServerSpan, "vehicle.fleet" }},
		{record.Outbound, func(s *ground.Span) { s.Proxy, s.Service = true, "vehicle.fleet" }},
		{record.AtService, func(s *ground.Span) {
			s.Kind, s.Service, s.Pod, s.Failed = ground.ServerSpan, "vehicle", "vehicle-x", true
		}},
		{record.AtStore, func(s *ground.Span) { s.Service, s.Store = "vehicle", "postgresql" }},
	}
	e.all = append(e.all, exportedSpan("ffffffff-000000000000001f", nil), exportedSpan(load.Label(seed)+"-0000000000000001.70000", nil))
	var want []record.Span
	for _, p := range places {
		span := exportedSpan(own, p.change)
		e.all = append(e.all, span)
		want = append(want, record.Span{
			ID: own, Span: "00f067aa0ba902b7", Parent: "53995c3f42cd8ad8", Place: p.want, Name: "GET", Service: span.Service, Pod: span.Pod,
			At: 3 * time.Second, Length: 5, Failed: span.Failed,
		})
	}
	if !s.read(t.Context()) || s.read(t.Context()) {
		t.Error("not read once")
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
	if why := s.missing(); why != "" {
		t.Error(why)
	}
}

// What comes late is waited for where traces are promised, and only there.
func TestLateSpans(t *testing.T) {
	for patience, want := range map[time.Duration]int{0: 0, mostLate: 1} {
		synctest.Test(t, func(t *testing.T) {
			e := &exports{}
			var told []record.Span
			s := reading(e, &told)
			time.AfterFunc(6500*time.Millisecond, func() { e.all = append(e.all, exportedSpan(load.Label(seed)+"-0000000000000001", nil)) })
			began := time.Now()
			if why := s.finish(t.Context(), patience); why != "" || len(told) != want {
				t.Errorf("with a patience of %s: %d spans, %s", patience, len(told), why)
			}
			if took := time.Since(began); took > patience {
				t.Errorf("it took %s", took)
			}
			time.Sleep(mostLate)
		})
	}
}

func TestSpansThatAreMissing(t *testing.T) {
	own := load.Label(seed) + "-000000000000001f"
	for want, change := range map[string]func(*exports, *spans){
		"3 came faster than they were read": func(e *exports, _ *spans) { e.lost = 3 },
		"1 beyond the 300000 that a record": func(_ *exports, s *spans) { s.told = record.MaxSpans },
		"no ground":                         func(e *exports, _ *spans) { e.err = errors.New("no ground") },
	} {
		e := &exports{all: []ground.Span{exportedSpan(own, nil)}}
		var told []record.Span
		s := reading(e, &told)
		change(e, s)
		if why := s.finish(t.Context(), 0); !strings.Contains(why, want) {
			t.Errorf("%q, want %q", why, want)
		}
	}
}
