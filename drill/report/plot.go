package report

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/nines-ha/nines/drill/claim"
	"github.com/nines-ha/nines/record"
)

// At most so many requests of a kind are drawn one by one.
const (
	mostGood    = 8000
	mostTrouble = 4000 // failed ones, and slow ones
)

// Kinds of points, as report.js counts them.
const (
	goodPoint = iota
	slowPoint
	failedPoint
)

// plot is what report.js draws. Times are seconds from the fault, latencies
// milliseconds, rates a second.
type plot struct {
	From    float64     `json:"from"`
	To      float64     `json:"to"`
	Window  *[2]float64 `json:"window,omitempty"` // that is judged
	Broken  *[2]float64 `json:"broken,omitempty"` // the fault is in force
	Marks   []plotMark  `json:"marks"`
	Limits  []plotLimit `json:"limits,omitempty"`
	Buckets plotBuckets `json:"buckets"`
	Points  plotPoints  `json:"points"`
}

type plotMark struct {
	At     float64 `json:"at"`
	Letter string  `json:"letter"`
}

type plotLimit struct {
	Name string  `json:"name"`
	MS   float64 `json:"ms"`
}

type plotBuckets struct {
	At     []float64 `json:"at"`
	Length []float64 `json:"length"`
	Good   []float64 `json:"good"`
	Slow   []float64 `json:"slow"`
	Failed []float64 `json:"failed"`
	P50    []float64 `json:"p50"` // 0: none
	P99    []float64 `json:"p99"`
	Ready  []int     `json:"ready"`
}

type plotPoints struct {
	At   []float64 `json:"at"`
	MS   []float64 `json:"ms"`
	Kind []int     `json:"kind"`

	shown, of int
}

func newPlot(v *claim.Verdict, rec *record.Record) plot {
	p := plot{Marks: []plotMark{}, Buckets: newPlotBuckets(v), Points: plotPoints{At: []float64{}, MS: []float64{}, Kind: []int{}}}
	if n := len(v.Timeline); n > 0 {
		p.From = fromFault(v, v.Timeline[0].At)
		p.To = fromFault(v, v.Timeline[n-1].At+v.Timeline[n-1].Length)
	}
	if v.Fault.At >= 0 && v.Requests.Window > 0 {
		p.Window = &[2]float64{0, v.Requests.Window.Seconds()}
	}
	for i, m := range v.Marks {
		p.Marks = append(p.Marks, plotMark{At: fromFault(v, m.At), Letter: letter(i)})
	}
	if rec == nil || rec.Header == nil {
		return p
	}
	p.Broken = broken(v, rec.Phases)
	promise := rec.Header.Promise
	for _, of := range []struct {
		name  string
		limit time.Duration
	}{{"p50 at most", promise.P50}, {"p99 at most", promise.P99}, {"slow over", promise.Slow}} {
		same := slices.IndexFunc(p.Limits, func(l plotLimit) bool { return l.MS == milliseconds(of.limit) })
		switch {
		case of.limit <= 0:
		case same >= 0:
			p.Limits[same].Name += ", " + of.name
		default:
			p.Limits = append(p.Limits, plotLimit{of.name, milliseconds(of.limit)})
		}
	}
	p.Points = newPlotPoints(v, rec, promise.Slow)
	return p
}

func newPlotBuckets(v *claim.Verdict) plotBuckets {
	var b plotBuckets
	for _, one := range v.Timeline {
		rate := func(n int) float64 {
			if one.Length <= 0 {
				return 0
			}
			return round(float64(n) / one.Length.Seconds())
		}
		b.At = append(b.At, fromFault(v, one.At))
		b.Length = append(b.Length, round(one.Length.Seconds()))
		b.Good = append(b.Good, rate(one.Requests-one.Failed-one.Slow))
		b.Slow = append(b.Slow, rate(one.Slow))
		b.Failed = append(b.Failed, rate(one.Failed))
		b.P50 = append(b.P50, milliseconds(one.P50))
		b.P99 = append(b.P99, milliseconds(one.P99))
		b.Ready = append(b.Ready, one.Ready)
	}
	return b
}

// newPlotPoints shows what came of each request in the end. It takes every so manieth request where there are too many of a
// kind.
func newPlotPoints(v *claim.Verdict, rec *record.Record, slow time.Duration) plotPoints {
	requests := make([]*record.Request, len(rec.Requests))
	for i := range rec.Requests {
		requests[i] = &rec.Requests[i]
	}
	requests, _ = record.Merge(requests)
	kinds := make([]int8, len(requests))
	var total [3]int
	for i, r := range requests {
		kinds[i] = int8(kind(r, slow))
		total[kinds[i]]++
	}
	most := [3]int{mostGood, mostTrouble, mostTrouble}
	p := plotPoints{At: []float64{}, MS: []float64{}, Kind: []int{}, of: len(kinds)}
	var seen [3]int
	for i, r := range requests {
		k := kinds[i]
		stride := max((total[k]+most[k]-1)/most[k], 1)
		seen[k]++
		if (seen[k]-1)%stride != 0 {
			continue
		}
		p.At = append(p.At, fromFault(v, r.Scheduled))
		p.MS = append(p.MS, max(milliseconds(r.Latency()), 0.01)) // the scale is a logarithm
		p.Kind = append(p.Kind, int(k))
	}
	p.shown = len(p.At)
	return p
}

func kind(r *record.Request, slow time.Duration) int {
	switch {
	case r.Failed():
		return failedPoint
	case slow > 0 && r.Latency() > slow:
		return slowPoint
	}
	return goodPoint
}

// broken is from the injection until the fault was undone, or until the end.
func broken(v *claim.Verdict, phases []record.Phase) *[2]float64 {
	if v.Fault.At < 0 || len(v.Timeline) == 0 {
		return nil
	}
	last := v.Timeline[len(v.Timeline)-1]
	to := last.At + last.Length
	for _, name := range []string{record.Healed, record.Heal, record.Restored} {
		if i := slices.IndexFunc(phases, func(p record.Phase) bool { return strings.EqualFold(p.Name, name) }); i >= 0 {
			to = phases[i].At
			break
		}
	}
	return &[2]float64{0, fromFault(v, to)}
}

// fromFault is an instant in seconds from the fault; from the start of the
// record where none was made.
func fromFault(v *claim.Verdict, at time.Duration) float64 {
	return round((at - max(v.Fault.At, 0)).Seconds())
}

func milliseconds(d time.Duration) float64 { return round(d.Seconds() * 1e3) }

// round keeps three digits after the point: the page stays small.
func round(v float64) float64 { return math.Round(v*1e3) / 1e3 }

func letter(i int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	if i < len(letters) {
		return letters[i : i+1]
	}
	return letters[i/len(letters)-1:][:1] + letters[i%len(letters):][:1]
}
