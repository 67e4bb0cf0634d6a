package load

import (
	"math"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// Shares of the requests carry headers, the same ones each time, and are
// otherwise what they would be.
func TestSteer(t *testing.T) {
	const n = 20_000
	ways := []Way{{To: "next", Headers: map[string]string{"X-Preview": "true"}, Share: 0.1}, {To: "late", Headers: map[string]string{"X-Late": "1"}, Share: 0.2}}
	draw := func(seed uint64) (list []string, counts map[string]int) {
		counts = map[string]int{}
		traffic, plain := Steer(&visits{}, 2, seed, ways), &visits{}
		for i := range n {
			var got, want Request
			traffic.Next(i%2, &got)
			plain.Next(i%2, &want)
			list = append(list, got.To)
			counts[got.To]++
			if got.Path != want.Path || string(got.Body) != string(want.Body) || (got.To == "") != (got.Headers == nil) {
				t.Fatalf("request %d: %+v, and without headers %+v", i, got, want)
			}
		}
		return list, counts
	}
	first, counts := draw(1)
	for to, want := range map[string]float64{"next": 0.1, "late": 0.2, "": 0.7} {
		if got := float64(counts[to]) / n; math.Abs(got-want) > 0.015 {
			t.Errorf("%q: %.3f of the requests, want %.1f", to, got, want)
		}
	}
	second, _ := draw(1)
	other, _ := draw(2)
	same := 0
	for i := range first {
		if first[i] != second[i] {
			t.Fatalf("request %d is for %q and for %q", i, first[i], second[i])
		}
		if first[i] == other[i] {
			same++
		}
	}
	if same == n {
		t.Error("the seed chooses nothing")
	}
	if s := Steered(ways); s["next"] != 0.1 || s["late"] != 0.2 || len(s) != 2 {
		t.Errorf("told as %v", s)
	}
}

// The header is sent, with a retry too, and told.
func TestSteeredRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		c := policy(&j, time.Second)
		c.Traffic = Steer(&again{}, c.Clients, 1, []Way{{To: "next", Headers: map[string]string{"X-Preview": "true"}, Share: 1}})
		s, heads := retrying(t, c, func(_, request int, _ *http.Request) string {
			if request == 1 {
				return refusal + "\r\n"
			}
			return good
		})
		if s.Retried == 0 || len(heads) != s.Scheduled+s.Retried {
			t.Fatalf("%+v, %d requests", s, len(heads))
		}
		for _, h := range heads {
			if h.Header.Get("X-Preview") != "true" {
				t.Errorf("%s %s has headers %v", h.Method, h.URL, h.Header)
			}
		}
		for _, r := range j.requests {
			if r.To != "next" {
				t.Errorf("%s is told as for %q", r.ID, r.To)
			}
		}
	})
}
