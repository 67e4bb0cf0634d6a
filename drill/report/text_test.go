package report

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nines-ha/nines/drill/claim"
	"github.com/nines-ha/nines/internal/wording"
)

func text(t *testing.T, v *claim.Verdict, width int, colour bool) string {
	t.Helper()
	var b strings.Builder
	if err := Text(&b, v, width, colour); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestText(t *testing.T) {
	for name, v := range verdicts() {
		golden(t, name+".txt", text(t, v, 100, false))
	}
	golden(t, "refuted-60.txt", text(t, refuted(), 60, false))
}

func TestColourAddsNoWords(t *testing.T) {
	coloured := text(t, refuted(), 100, true)
	if !strings.Contains(coloured, "\x1b[1;31mREFUTED\x1b[0m") {
		t.Errorf("the outcome is not red: %q", strings.SplitN(coloured, "\n", 2)[0])
	}
	var plain strings.Builder
	for i, part := range strings.Split(coloured, "\x1b[") {
		if i > 0 {
			_, part, _ = strings.Cut(part, "m")
		}
		plain.WriteString(part)
	}
	if plain.String() != text(t, refuted(), 100, false) {
		t.Errorf("colour changes what is said:\n%s", plain.String())
	}
}

func TestTextIsOneScreen(t *testing.T) {
	all := verdicts()
	all["crowded"] = crowded()
	all["empty"] = &claim.Verdict{}
	many := refuted()
	many.Timeline = nil
	for i := range 500 {
		many.Timeline = append(many.Timeline, claim.Bucket{At: time.Duration(i) * second, Length: second, Requests: 1, Failed: i % 2, P99: time.Duration(i) * second})
	}
	all["many"] = many
	for name, v := range all {
		for _, width := range []int{40, 60, 100, 120} {
			lines := strings.Split(strings.TrimSuffix(text(t, v, width, false), "\n"), "\n")
			if width >= 100 && len(lines) > screenful {
				t.Errorf("%s at %d columns takes %d lines", name, width, len(lines))
			}
			for _, line := range lines {
				if n := utf8.RuneCountInString(line); n > width {
					t.Errorf("%s at %d columns has a line of %d: %q", name, width, n, line)
				}
				if i := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
					t.Errorf("%s holds what a terminal may obey: %q", name, line)
				}
			}
		}
	}
}

// What failed must be seen where it was: below it are the marks of that time.
func TestTimelineIsAligned(t *testing.T) {
	v := held()
	v.Timeline = timeline(func(after int, b *claim.Bucket) {
		if after == 5 {
			b.Failed = 50
		}
	})
	v.Marks = []claim.Mark{{At: 25*second + 1, Kind: "backend", Text: "down"}}
	lines := strings.Split(text(t, v, 100, false), "\n")
	column := func(glyph string, is func(line string) bool) int {
		for _, line := range lines {
			if is(line) {
				return utf8.RuneCountInString(line[:strings.Index(line, glyph)])
			}
		}
		t.Fatalf("no line with %q in\n%s", glyph, strings.Join(lines, "\n"))
		return 0
	}
	failed := column("█", func(line string) bool { return strings.HasPrefix(line, "failed 50/s") })
	mark := column("a", func(line string) bool { return strings.TrimSpace(line) == "a" })
	if failed != mark {
		t.Errorf("the failures are in column %d, the mark of the same second in %d", failed, mark)
	}
	if zero := column("┴0 s", func(line string) bool { return strings.Contains(line, "┴0 s") }); zero >= failed {
		t.Errorf("the fault is in column %d, what it cost 5 s later in %d", zero, failed)
	}
}

func TestWords(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0 s": 0, "0.25 ms": 250 * time.Microsecond, "999 ms": 999 * time.Millisecond, "1 s": 999600 * time.Microsecond,
		"1.28 s": 1284 * time.Millisecond, "12.4 s": 12400 * time.Millisecond, "2 min": 2 * time.Minute,
		"43 min 12 s": 2592 * second, "60 min": time.Hour - time.Millisecond, "-5 s": -5 * second,
	} {
		if got := lasting(d); got != want {
			t.Errorf("lasting(%v) = %q, want %q", d, got, want)
		}
	}
	for share, want := range map[float64]string{1: "100 %", 0.999996: "99.999 %", 0.999: "99.9 %", 0: "0 %"} {
		if got := wording.Share(share); got != want {
			t.Errorf("wording.Share(%v) = %q, want %q", share, got, want)
		}
	}
	for share, want := range map[float64]string{0: "0 %", 0.0000001: "0.01 %", 0.5: "50 %", 1.2: "120 %"} {
		if got := spent(share); got != want {
			t.Errorf("spent(%v) = %q, want %q", share, got, want)
		}
	}
	if got := wrap("a number of 12.5 s stays with its unit", 16, 2); got[0] != "a number of" || !strings.HasSuffix(got[1], "…") || len(got) != 2 {
		t.Errorf("wrap gives %q", got)
	}
}
