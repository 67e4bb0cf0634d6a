package load

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func all(s Schedule, seed uint64) []time.Duration {
	a := &arrivals{Schedule: s, random: rand.New(rand.NewPCG(seed, 1))}
	var times []time.Duration
	for at, more := a.next(); more; at, more = a.next() {
		times = append(times, at)
	}
	return times
}

func TestConstantArrivals(t *testing.T) {
	stages := []Stage{{Rate: 3, Length: time.Second}, {Rate: 0, Length: time.Second}, {Rate: 700, Length: 1500 * time.Millisecond}, {Rate: 0.5, Length: 3 * time.Second}}
	want := []int{3, 0, 1050, 2}
	times := all(Schedule{Constant, stages}, 1)
	var began time.Duration
	for i, stage := range stages {
		var in []time.Duration
		for _, at := range times {
			if at >= began && at < began+stage.Length {
				in = append(in, at-began)
			}
		}
		if len(in) != want[i] {
			t.Errorf("stage %d: %d requests are due, want %d", i, len(in), want[i])
		}
		for k, at := range in {
			if ideal := float64(k) / stage.Rate * 1e9; math.Abs(float64(at)-ideal) > 1 {
				t.Errorf("stage %d: request %d is due at %d ns, want %.0f", i, k, at, ideal)
			}
		}
		began += stage.Length
	}
	if times[len(times)-1] >= began {
		t.Errorf("a request is due at %s, after the end", times[len(times)-1])
	}
}

func TestArrivalsWithoutEnd(t *testing.T) {
	a := &arrivals{Schedule: Schedule{Constant, []Stage{{Rate: 1000, Length: time.Second}, {Rate: 200}}}}
	var at time.Duration
	for range 1000 + 200*3600*24 + 1 { // a day later nothing has drifted
		at, _ = a.next()
	}
	if want := time.Second + 24*time.Hour; at != want {
		t.Errorf("the last is due at %s, want %s", at, want)
	}
}

// The gaps of a Poisson process are exponential: mean and standard deviation are
// both 1/rate, and the count in an interval has its mean as variance.
func TestPoissonArrivals(t *testing.T) {
	for seed := range uint64(5) {
		stages := []Stage{{Rate: 50, Length: 400 * time.Second}, {Rate: 400, Length: 100 * time.Second}}
		times := all(Schedule{Poisson, stages}, seed)
		var began time.Duration
		for i, stage := range stages {
			var n, sum, squares float64
			counts := make([]float64, int(stage.Length/time.Second))
			before := began
			for _, at := range times {
				if at < began || at >= began+stage.Length {
					continue
				}
				gap := (at - before).Seconds()
				before = at
				n, sum, squares = n+1, sum+gap, squares+gap*gap
				counts[int((at-began)/time.Second)]++
			}
			mean := sum / n
			deviation := math.Sqrt(squares/n - mean*mean)
			expect := stage.Rate * stage.Length.Seconds()
			if math.Abs(n-expect) > 4*math.Sqrt(expect) {
				t.Errorf("seed %d stage %d: %.0f requests, want %.0f ± %.0f", seed, i, n, expect, 4*math.Sqrt(expect))
			}
			if math.Abs(mean*stage.Rate-1) > 0.05 || math.Abs(deviation*stage.Rate-1) > 0.05 {
				t.Errorf("seed %d stage %d: gaps have mean %.4f and deviation %.4f, want %.4f for both", seed, i, mean, deviation, 1/stage.Rate)
			}
			var variance float64
			for _, c := range counts {
				variance += (c - stage.Rate) * (c - stage.Rate) / float64(len(counts))
			}
			if ratio := variance / stage.Rate; ratio < 0.5 || ratio > 1.7 {
				t.Errorf("seed %d stage %d: counts a second vary %.2f times as much as their mean, want about 1", seed, i, ratio)
			}
			began += stage.Length
		}
	}
}

func TestScheduleCheck(t *testing.T) {
	for _, test := range []struct {
		schedule Schedule
		want     string
	}{
		{Schedule{"bursts", []Stage{{Rate: 1}}}, "not known"},
		{Schedule{Constant, nil}, "needs a stage"},
		{Schedule{Constant, []Stage{{Rate: -1}}}, "between"},
		{Schedule{Constant, []Stage{{Rate: math.NaN()}}}, "between"},
		{Schedule{Constant, []Stage{{Rate: 2e6}}}, "between"},
		{Schedule{Constant, []Stage{{Rate: 1, Length: -1}}}, "negative"},
		{Schedule{Poisson, []Stage{{Rate: 1}, {Rate: 1}}}, "stage 1: only the last"},
		{Schedule{Poisson, []Stage{{}}}, "for ever"},
		{Schedule{Poisson, []Stage{{Length: time.Second}, {Rate: 1e6}}}, ""},
	} {
		err := test.schedule.check()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: %v, want %q", test.schedule, err, test.want)
		}
	}
}

func TestTurnsAreFair(t *testing.T) {
	turns := newTurns(7, rand.New(rand.NewPCG(1, 2)))
	first := map[int]bool{}
	for round := range 50 {
		seen := map[int]bool{}
		for i := range 7 {
			client := turns.next()
			if seen[client] {
				t.Fatalf("round %d: client %d has two turns", round, client)
			}
			seen[client] = true
			if i == 0 {
				first[client] = true
			}
		}
	}
	if len(first) < 4 {
		t.Errorf("only clients %v ever begin a round", first)
	}
}
