package record

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/quick"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// body is what a run may tell, with every field of every type at random.
type body struct {
	Phases   []Phase
	Requests []Request
	Events   []Event
	Flows    []Flow
	Hops     []Hop
	Spans    []Span
	Seconds  []Second
	Stored   []Stored
	End      End
	Service  Service
	Gateway  *Gateway
	Nodes    []Node
	Load     Load
	Promise  Promise
	Clocks   []Clock
	Drill    string
	Seed     uint64
	Started  int64
	Mixed    uint64 // seed of the order of lines
}

func (b *body) record() *Record {
	return &Record{
		Header: &Header{
			Version: Version, Drill: b.Drill, Started: time.UnixMicro(b.Started % 1e16).UTC(), Seed: b.Seed,
			Service: b.Service, Gateway: b.Gateway, Nodes: b.Nodes, Load: b.Load, Promise: b.Promise, Clocks: b.Clocks,
		},
		Phases: b.Phases, Requests: b.Requests, Events: b.Events, Flows: b.Flows, Hops: b.Hops, Spans: b.Spans, Seconds: b.Seconds, Stored: b.Stored, End: &b.End,
	}
}

// lines are those of the body; kinds are mixed, but each keeps its own order.
func (b *body) lines() []Line {
	var queues [8][]Line
	for i := range b.Phases {
		queues[0] = append(queues[0], Line{Phase: &b.Phases[i]})
	}
	for i := range b.Requests {
		queues[1] = append(queues[1], Line{Request: &b.Requests[i]})
	}
	for i := range b.Events {
		queues[2] = append(queues[2], Line{Event: &b.Events[i]})
	}
	for i := range b.Flows {
		queues[3] = append(queues[3], Line{Flow: &b.Flows[i]})
	}
	for i := range b.Seconds {
		queues[4] = append(queues[4], Line{Second: &b.Seconds[i]})
	}
	for i := range b.Stored {
		queues[5] = append(queues[5], Line{Stored: &b.Stored[i]})
	}
	for i := range b.Hops {
		queues[6] = append(queues[6], Line{Hop: &b.Hops[i]})
	}
	for i := range b.Spans {
		queues[7] = append(queues[7], Line{Span: &b.Spans[i]})
	}
	dice := rand.New(rand.NewPCG(b.Mixed, 1))
	all := []Line{{Header: b.record().Header}}
	left := slices.DeleteFunc(queues[:], func(q []Line) bool { return len(q) == 0 })
	for len(left) > 0 {
		i := dice.IntN(len(left))
		all = append(all, left[i][0])
		if left[i] = left[i][1:]; len(left[i]) == 0 {
			left = slices.Delete(left, i, i+1)
		}
	}
	return append(all, Line{End: &b.End})
}

// What is written is read, whatever it is, plain and packed.
func TestAnythingReturns(t *testing.T) {
	folder := t.TempDir()
	property := func(b body) bool {
		want := b.record()
		want.Events = slices.Clone(want.Events)
		slices.SortStableFunc(want.Events, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
		for _, name := range []string{"drill.jsonl", "drill.jsonl.gz"} {
			path := filepath.Join(folder, name)
			w, err := Create(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range b.lines() {
				if err := w.Write(line); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			got, err := Open(path)
			if err != nil {
				t.Error(err)
				return false
			}
			if diff := gocmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s: %s", name, diff)
				return false
			}
		}
		return true
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 60}); err != nil {
		t.Error(err)
	}
}

// A packed record that was cut anywhere gives the lines that are whole.
func TestPackedCutAnywhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "drill.jsonl.gz")
	w, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines() {
		if err := w.Write(line); err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		w.flush()
		w.mu.Unlock()
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	packed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	most := 0
	for n := len(packed) / 2; n < len(packed); n++ {
		rec, err := ReadFrom(bytes.NewReader(packed[:n]))
		if err != nil {
			t.Fatalf("%d of %d bytes: %v", n, len(packed), err)
		}
		if !rec.Cut {
			t.Errorf("%d of %d bytes: the cut is not told", n, len(packed))
		}
		if rec.End != nil {
			most++
		}
	}
	if most == 0 {
		t.Error("the end is lost although its line is whole")
	}
}

func TestBounds(t *testing.T) {
	full := parser{record: &Record{}, n: 1, requests: MaxRequests}
	if err := full.line([]byte(`{"phase":{"at":1,"name":"warm"}}`)); err != nil {
		t.Errorf("a phase after many requests: %v", err)
	}
	if err := full.line([]byte(`{"request":{"id":"x"}}`)); err == nil {
		t.Error("more requests than allowed were read")
	}
	long := parser{record: &Record{}, n: MaxLines}
	if err := long.line([]byte(`{"phase":{"at":1,"name":"warm"}}`)); err == nil {
		t.Error("more lines than allowed were read")
	}
	many := parser{record: &Record{Hops: make([]Hop, MaxHops)}, n: 1}
	if err := many.line([]byte(`{"hop":{"id":"x"}}`)); err == nil {
		t.Error("more hops than allowed were read")
	}
	many = parser{record: &Record{Spans: make([]Span, MaxSpans)}, n: 1}
	if err := many.line([]byte(`{"span":{"id":"x"}}`)); err == nil {
		t.Error("more spans than allowed were read")
	}
	w, err := Create(filepath.Join(t.TempDir(), "r"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	w.requests = MaxRequests
	if err := w.Write(Line{Request: &Request{}}); err == nil {
		t.Error("more requests than can be read were written")
	}
	w.hops = MaxHops
	if err := w.Write(Line{Hop: &Hop{}}); err == nil {
		t.Error("more hops than can be read were written")
	}
	w.spans = MaxSpans
	if err := w.Write(Line{Span: &Span{}}); err == nil {
		t.Error("more spans than can be read were written")
	}
	if err := w.Write(Line{Phase: &Phase{Text: string(bytes.Repeat([]byte{'x'}, MaxLine))}}); err == nil {
		t.Error("a longer line than can be read was written")
	}
	if err := w.Write(Line{Phase: &Phase{}}); err != nil {
		t.Errorf("a line after one that was refused: %v", err)
	}
}

// A file that cannot be written to is told at once and ever after.
func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here")
	}
	w := newWriter(full, false)
	if err := w.Write(Line{Header: header()}); err != nil {
		t.Errorf("before anything reached the disk: %v", err)
	}
	w.mu.Lock()
	w.flush()
	w.mu.Unlock()
	if err := w.Write(Line{Phase: &Phase{}}); err == nil {
		t.Error("a full disk was not told")
	}
	if err := w.Close(); err == nil {
		t.Error("a full disk was not told at the end")
	}
}
