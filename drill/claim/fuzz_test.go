package claim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nines-ha/nines/record"
)

// Whatever a file says, it is judged or refused, and never held against reason.
func FuzzJudge(f *testing.F) {
	f.Add([]byte(`{"header":{"version":1,"window":{"length":1},"promise":{"availability":1,"capacity":1,"restored":true,"writes":true}}}
{"phase":{"at":0,"name":"inject"}}
{"request":{"id":"a","scheduled":0,"done":9223372036854775807,"status":200}}
{"event":{"at":-9223372036854775808,"kind":"endpoint","name":"p","state":"ready"}}
{"second":{"at":9223372036854775807,"cpu":1e308}}
`))
	f.Add([]byte(`{"header":{"version":1,"window":{"length":1000000000},"load":{"rate":1e-300},"clocks":[{"name":"node","here":-9223372036854775808,"aks":9223372036854775807,"delay":"detection"}],"promise":{"failed":0,"slow":1,"p99":1}}}
{"phase":{"at":0,"name":"inject"}}
{"request":{"id":"a","scheduled":1,"taken":3,"waited":9,"done":2000000000,"error":"connect-timeout"}}
{"request":{"id":"a","scheduled":1,"done":200,"status":200,"conn":"c","write":{"entity":"e","version":-1}}}
{"stored":{"entity":"e","version":-1,"copies":-5}}
{"end":{"at":5,"readBack":true}}
`))
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, err := record.ReadFrom(bytes.NewReader(data))
		if err != nil {
			t.Skip()
		}
		v, err := Judge(rec)
		if err != nil {
			return
		}
		if _, err := json.Marshal(v); err != nil {
			t.Fatal(err)
		}
		if v.Verdict == Held && (rec.Cut || rec.End == nil) {
			t.Fatal("held without an end")
		}
	})
}

// FuzzJudgeDrawn steers through records that hang together.
func FuzzJudgeDrawn(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) { mustJudge(t, anyRecord(t)) }))
}

func BenchmarkJudge(b *testing.B) {
	rec := &record.Record{Header: &record.Header{
		Version: record.Version, Window: record.Window{Length: 900 * s}, Load: record.Load{Rate: 200},
		Promise: record.Promise{Availability: 0.999, Slow: 300 * ms, P99: 300 * ms, Writes: true, Fresh: true, Capacity: 1},
	}, End: &record.End{ReadBack: true}}
	rec.Phases = []record.Phase{{Name: record.Steady}, {At: s, Name: record.Inject}, {At: 2 * s, Name: record.Injected}}
	for i := 1; i <= 12; i++ {
		node := fmt.Sprint("n", i)
		rec.Header.Nodes = append(rec.Header.Nodes, record.Node{Name: node, Zone: fmt.Sprint("z", i%3)})
		rec.Events = append(rec.Events, record.Event{Kind: record.Endpoint, Name: fmt.Sprint("p", i), State: "ready", Node: node}, record.Event{Kind: record.Backend, Name: node, State: "up"})
	}
	rec.Events = append(rec.Events, record.Event{At: s, Kind: record.Machine, Name: "n1", State: "stopped"})
	for i := range 200_000 {
		at := time.Duration(i) * 5 * ms
		r := record.Request{ID: fmt.Sprint("r", i), Client: i % 200, Scheduled: at, Taken: at, Sent: at + 1, Done: at + 5*ms, Status: 200, Conn: fmt.Sprint("c", i%200), Reused: true, Pod: fmt.Sprint("p", i%12+1)}
		if i%4 == 3 {
			r.Read = &record.Read{Entity: fmt.Sprint("v", i%200), Saw: int64(i)}
		} else {
			r.Write = &record.Write{Entity: fmt.Sprint("v", i%200), Version: int64(i), Sum: "s", Acknowledged: true}
			rec.Stored = append(rec.Stored, record.Stored{Entity: r.Write.Entity, Version: r.Write.Version, Sum: "s", Copies: 1})
		}
		if i%12 == 0 {
			r.Error, r.Status, r.Pod = record.Timeout, 0, ""
		}
		rec.Requests = append(rec.Requests, r)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Judge(rec); err != nil {
			b.Fatal(err)
		}
	}
}
