package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nines-ha/nines/drill/claim"
)

const (
	leastLegend = 3  // lines
	markWidth   = 48 // columns of a mark's text
)

// timeline draws failures, p99 and ready endpoints over one axis of time, which
// counts from the fault, with marks below that take at most so many lines.
func (p page) timeline(v *claim.Verdict, most int) []string {
	t := newSpan(v, p.width-gutter)
	if t == nil {
		return nil
	}
	var worst float64
	var slowest, quickest time.Duration
	ready := 0
	fewest := math.MaxInt
	for _, b := range v.Timeline {
		worst = max(worst, failing(b))
		slowest = max(slowest, b.P99)
		if b.P99 > 0 && (quickest == 0 || b.P99 < quickest) {
			quickest = b.P99
		}
		ready, fewest = max(ready, b.Ready), min(fewest, b.Ready)
	}
	failed := t.draw(func(b claim.Bucket) rune { return bar(failing(b), worst) })
	p99 := t.draw(func(b claim.Bucket) rune {
		if b.P99 <= 0 {
			return ' '
		}
		return bar(scaled(b.P99, quickest, slowest), 1)
	})
	endpoints := t.draw(func(b claim.Bucket) rune { return bar(float64(b.Ready), float64(ready)) })
	span := fmt.Sprint(ready)
	if fewest < ready {
		span = fmt.Sprintf("%d–%d", fewest, ready)
	}
	lines := []string{
		"",
		p.ink.dim(pad(fmt.Sprintf("failed %.0f/s", math.Ceil(worst)), gutter)) + p.ink.red(failed),
		p.ink.dim(pad("p99 "+lasting(slowest), gutter)) + p99,
		p.ink.dim(pad("ready "+span, gutter)) + endpoints,
		p.ink.dim(pad("", gutter) + t.axis()),
	}
	return append(lines, p.marks(t, v.Marks, most)...)
}

// failing is failures a second.
func failing(b claim.Bucket) float64 {
	if b.Failed == 0 || b.Length <= 0 {
		return 0
	}
	return float64(b.Failed) / b.Length.Seconds()
}

// scaled is where a latency is between the quickest and the slowest by its
// logarithm, from 0.1 to 1; at least a factor of ten is between these.
func scaled(d, quickest, slowest time.Duration) float64 {
	whole := math.Log(max(float64(slowest)/float64(quickest), 10))
	return 0.1 + 0.9*math.Log(float64(d)/float64(quickest))/whole
}

func bar(value, peak float64) rune {
	if value <= 0 || peak <= 0 {
		return '·'
	}
	blocks := []rune("▁▂▃▄▅▆▇█")
	n := int(math.Ceil(value / peak * float64(len(blocks))))
	return blocks[min(max(n, 1), len(blocks))-1]
}

// span is the time of the buckets laid out in columns.
type span struct {
	from, to time.Duration
	zero     time.Duration // what times count from
	columns  int
	buckets  []claim.Bucket
}

// newSpan is nil where nothing is to be drawn.
func newSpan(v *claim.Verdict, columns int) *span {
	if len(v.Timeline) == 0 || columns < 10 {
		return nil
	}
	last := v.Timeline[len(v.Timeline)-1]
	t := &span{from: v.Timeline[0].At, to: last.At + last.Length, columns: columns, buckets: v.Timeline}
	if t.to <= t.from {
		return nil
	}
	if v.Fault.At >= 0 {
		t.zero = v.Fault.At
	}
	if n := len(v.Timeline); n < columns {
		t.columns = columns / n * n // all buckets are equally wide
	}
	return t
}

// column is where an instant is, within the span.
func (t *span) column(at time.Duration) int {
	part := float64(at-t.from) / float64(t.to-t.from)
	return min(max(int(part*float64(t.columns)), 0), t.columns-1)
}

// draw shows the most of what falls into a column.
func (t *span) draw(glyph func(claim.Bucket) rune) string {
	row := []rune(strings.Repeat(" ", t.columns))
	for _, b := range t.buckets {
		g := glyph(b)
		last := max(t.column(b.At), t.column(b.At+b.Length-time.Microsecond))
		for c := t.column(b.At); c <= last; c++ {
			if row[c] == ' ' || row[c] == '·' || g != '·' && g != ' ' && g > row[c] {
				row[c] = g
			}
		}
	}
	return strings.TrimRight(string(row), " ")
}

// axis has the time every so often, at round seconds from the fault.
func (t *span) axis() string {
	row := []rune(strings.Repeat("─", t.columns))
	step := t.step()
	for at := ceiling(t.from-t.zero, step); t.zero+at < t.to; at += step {
		c := t.column(t.zero + at)
		label := []rune("┴" + lasting(at))
		if c+len(label) <= len(row) {
			copy(row[c:], label)
		}
	}
	return string(row)
}

func (t *span) step() time.Duration {
	least := (t.to - t.from) * 12 / time.Duration(t.columns) // a label and room around it
	for _, s := range []time.Duration{1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600} {
		if s*time.Second >= least {
			return s * time.Second
		}
	}
	return least.Round(time.Hour) + time.Hour
}

func ceiling(d, step time.Duration) time.Duration {
	whole := d / step * step
	if whole < d {
		whole += step
	}
	return whole
}

// marks are letters below the axis and what they stand for. Where not all have
// room, those that tell most stay.
func (p page) marks(t *span, marks []claim.Mark, most int) []string {
	within := slices.DeleteFunc(slices.Clone(marks), func(m claim.Mark) bool { return m.At < t.from || m.At > t.to })
	if len(within) == 0 {
		return nil
	}
	order := make([]int, len(within))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return telling(within[a]) - telling(within[b]) })
	var letters, legend []string
	for n := len(within); n > 0; n-- {
		chosen := slices.Sorted(slices.Values(order[:n]))
		letters, legend = p.legend(t, within, chosen)
		if len(legend) <= most {
			break
		}
	}
	return append(letters, legend...)
}

func telling(m claim.Mark) int {
	if m.Kind == "phase" {
		for _, quiet := range []string{"warm", "steady", "read-back"} {
			if strings.HasPrefix(m.Text, quiet) {
				return 9
			}
		}
		return 0
	}
	if rank := slices.Index([]string{"backend", "machine", "zone", "node", "part", "endpoint", "fault"}, m.Kind); rank >= 0 {
		return 1 + rank
	}
	return 8
}

func (p page) legend(t *span, marks []claim.Mark, chosen []int) (letters, legend []string) {
	row := []rune(strings.Repeat(" ", t.columns))
	var words []string
	for i, n := range chosen {
		m := marks[n]
		letter := rune('a' + i%26)
		c := t.column(m.At)
		for c < len(row)-1 && row[c] != ' ' {
			c++
		}
		row[c] = letter
		words = append(words, fmt.Sprintf("%c %s %s", letter, lasting(m.At-t.zero), fit(clean(m.Text), markWidth)))
	}
	if left := len(marks) - len(chosen); left > 0 {
		words = append(words, fmt.Sprintf("and %d more", left))
	}
	line := ""
	for _, word := range words {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line+" · "+word) <= p.width-gutter:
			line += " · " + word
		default:
			legend, line = append(legend, line), word
		}
	}
	legend = append(legend, line)
	for i := range legend {
		legend[i] = strings.Repeat(" ", gutter) + fit(legend[i], p.width-gutter)
	}
	return []string{strings.Repeat(" ", gutter) + strings.TrimRight(string(row), " ")}, legend
}
