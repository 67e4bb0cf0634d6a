package drill

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/nines-ha/nines/drill/load"
	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/record"
)

const (
	readEvery = time.Second     // spans
	askWithin = 5 * time.Second // for some of them
	// Proxies and services export after 5 s at the latest; who has been quiet for
	// longer has told all.
	exported = 7 * time.Second
	mostLate = 30 * time.Second // that is waited for late spans
)

// spans joins the traces of a run's requests to its record.
type spans struct {
	fetch   func(ctx context.Context, after uint64) (ground.Traces, error)
	tell    func(record.Line)
	label   string // of the ids of the run's requests
	gateway string // its namespace; "": there is none
	started time.Time

	last    uint64 // that was read
	told    int
	lost    uint64 // before they were read
	dropped int    // beyond what a record holds
	trouble error  // of the last time
}

// followSpans reads along, if anything is traced at a ground. What it gives back
// ends that, and says why spans may be missing; it must be called.
func (r *run) followSpans(ctx context.Context) func(context.Context) string {
	if r.Site.Ground == nil || r.header.Load.Sample == 0 {
		return func(context.Context) string { return "" }
	}
	s := &spans{
		fetch: func(ctx context.Context, after uint64) (ground.Traces, error) {
			return r.Site.Ground.Traces(ctx, r.Site.Region, after)
		},
		tell: r.tell, label: load.Label(r.Site.Seed), started: r.header.Started,
	}
	if r.Gateway != nil {
		s.gateway = r.Gateway.Namespace
	}
	patience := time.Duration(0)
	if r.header.Promise.Traced > 0 {
		patience = mostLate
	}
	// What was exported before a drill was interrupted explains it too.
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	s.skip(reading)
	go func() {
		defer close(done)
		for pause(reading, readEvery) == nil {
			s.read(reading)
		}
	}()
	return func(ctx context.Context) string {
		stop()
		<-done
		return s.finish(ctx, patience)
	}
}

// skip leaves out what was exported before.
func (s *spans) skip(ctx context.Context) {
	batch, err := s.ask(ctx, math.MaxUint64)
	s.trouble = err
	s.last = batch.Last
}

func (s *spans) ask(ctx context.Context, after uint64) (ground.Traces, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	return s.fetch(ctx, after)
}

// read takes all there are now, and says whether there were any.
func (s *spans) read(ctx context.Context) (came bool) {
	for {
		batch, err := s.ask(ctx, s.last)
		if ctx.Err() != nil {
			return came // what is left is read in the end
		}
		if s.trouble = err; err != nil || batch.Last == s.last {
			return came
		}
		came = true
		s.last = batch.Last
		s.lost += batch.Lost
		for i := range batch.Spans {
			s.join(&batch.Spans[i])
		}
	}
}

// finish reads until nothing has come for a while, and has patience for so long.
func (s *spans) finish(ctx context.Context, patience time.Duration) string {
	end := time.Now().Add(patience)
	for quiet := time.Now(); ; {
		if s.read(ctx) {
			quiet = time.Now()
		}
		if now := time.Now(); now.Sub(quiet) >= exported || !now.Before(end) || pause(ctx, readEvery) != nil {
			return s.missing()
		}
	}
}

func (s *spans) missing() string {
	var why []string
	if s.lost > 0 {
		why = append(why, fmt.Sprintf("%d came faster than they were read", s.lost))
	}
	if s.dropped > 0 {
		why = append(why, fmt.Sprintf("%d beyond the %d that a record holds were dropped", s.dropped, record.MaxSpans))
	}
	if s.trouble != nil {
		why = append(why, s.trouble.Error())
	}
	return strings.Join(why, "; ")
}

// join tells a span that is of a request of this run.
func (s *spans) join(span *ground.Span) {
	id := record.RequestOfTrace(span.Trace)
	if !strings.HasPrefix(id, s.label+"-") {
		return
	}
	if s.told == record.MaxSpans {
		s.dropped++
		return
	}
	s.told++
	s.tell(record.Line{Span: &record.Span{
		ID: id, Span: span.ID, Parent: span.Parent, Place: s.place(span), Name: span.Name, Service: span.Service, Pod: span.Pod,
		At: span.Start.Sub(s.started), Length: span.End.Sub(span.Start), Failed: span.Failed,
	}})
}

// place is where a span is from. A gateway calls itself NAME.NAMESPACE, and tells of
// each try what a sidecar tells of a request.
func (s *spans) place(span *ground.Span) string {
	switch {
	case s.gateway != "" && strings.HasSuffix(span.Service, "."+s.gateway):
		return record.AtGateway
	case span.Proxy && span.Kind == ground.ServerSpan:
		return record.Inbound
	case span.Proxy:
		return record.Outbound
	case span.Store != "":
		return record.AtStore
	}
	return record.AtService
}
