package record

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

func TestMerge(t *testing.T) {
	alone := &Request{ID: "a", Scheduled: 1, Taken: 2, Done: 9, Status: 200}
	first := &Request{ID: "b", Client: 3, Op: "write", Scheduled: 2, Taken: 4, Done: 20, Error: Timeout, Again: true, Conn: "c1", Write: &Write{Entity: "e", Version: 1}}
	second := &Request{ID: "b.1", Of: "b", Retries: 1, Client: 3, Op: "write", Scheduled: 30, Taken: 31, Sent: 32, Done: 40, Status: 503, Again: true, Conn: "c2", Write: first.Write}
	third := &Request{ID: "b.2", Of: "b", Retries: 2, Client: 3, Op: "write", Scheduled: 50, Taken: 51, Sent: 52, First: 58, Done: 60, Status: 200, Conn: "c2", Pod: "p", Write: &Write{Entity: "e", Version: 1, Acknowledged: true}}
	lost := &Request{ID: "x.1", Of: "x", Retries: 1, Scheduled: 70, Done: 71, Status: 200}
	all := []*Request{alone, first, second, third, lost}
	whole, attempts := Merge(slices.Clone(all))
	want := []Request{*alone, *third, *lost}
	want[1].ID, want[1].Of, want[1].Scheduled, want[1].Taken = "b", "", 2, 4
	want[2].ID, want[2].Of, want[2].Retries = "x", "", 0
	var got []Request
	for _, r := range whole {
		got = append(got, *r)
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if whole[0] != alone || len(attempts) != 2 || !slices.Equal(attempts[whole[1]], []*Request{first, second, third}) || !slices.Equal(attempts[whole[2]], []*Request{lost}) {
		t.Errorf("attempts %v", attempts)
	}
	if got := whole[1].Latency(); got != 58 {
		t.Errorf("the latency of a request that was due at 2 and answered at 60 is %d", got)
	}
}

// Without a second attempt nothing is touched.
func TestMergeNothing(t *testing.T) {
	all := []*Request{{ID: "a"}, {ID: "b", Status: 503}, {ID: "b"}}
	whole, attempts := Merge(all)
	if !slices.Equal(whole, all) || len(attempts) > 0 {
		t.Errorf("%v, %v", whole, attempts)
	}
}

// Whatever the attempts and their order, each is in one request, and each request
// is there once.
func TestMergeLosesNothing(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var all []*Request
		requests := map[string]int{}
		for i := range dice.IntN(8) {
			id := fmt.Sprint("r", i)
			for n := range 1 + dice.IntN(4) {
				r := &Request{ID: id, Scheduled: time.Duration(dice.IntN(50)), Done: time.Duration(dice.IntN(90)), Retries: n}
				if n > 0 {
					r.ID, r.Of = fmt.Sprint(id, ".", n), id
				}
				if dice.IntN(10) > 0 { // some lines are missing
					all = append(all, r)
					requests[id]++
				}
			}
		}
		dice.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		whole, attempts := Merge(slices.Clone(all))
		if len(whole) != len(requests) {
			t.Fatalf("%d requests of %v", len(whole), requests)
		}
		for _, r := range whole {
			chain := attempts[r]
			if chain == nil {
				chain = []*Request{r}
			}
			if len(chain) != requests[r.ID] || r.Scheduled != chain[0].Scheduled || r.Done != chain[len(chain)-1].Done {
				t.Fatalf("request %+v of %d attempts, want %d", r, len(chain), requests[r.ID])
			}
			if !slices.IsSortedFunc(chain, func(a, b *Request) int { return a.Retries - b.Retries }) {
				t.Fatalf("attempts of %s out of order", r.ID)
			}
		}
	}
}
