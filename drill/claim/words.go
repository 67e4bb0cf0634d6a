package claim

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/nines-ha/nines/internal/wording"
)

// lasting writes a duration as a person reads it: three digits that matter.
func lasting(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + lasting(-d)
	case d == 0:
		return "0 s"
	case d < time.Millisecond:
		return wording.Decimal(d.Seconds()*1e3, 2) + " ms"
	case d < time.Second:
		return wording.Decimal(d.Seconds()*1e3, 0) + " ms"
	case d < 10*time.Second:
		return wording.Decimal(d.Seconds(), 3) + " s"
	case d < 10*time.Minute:
		return wording.Decimal(d.Seconds(), 1) + " s"
	default:
		return d.Round(time.Second).String()
	}
}

// exactly writes a limit as it was promised.
func exactly(d time.Duration) string {
	if d < time.Second {
		return wording.Decimal(d.Seconds()*1e3, 6) + " ms"
	}
	return wording.Decimal(d.Seconds(), 6) + " s"
}

func roughly(v float64) string { return wording.Decimal(math.Round(min(v, 1e6)*100), 0) + " %" }

func quoted(text string) string {
	const most = 120
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return strconv.Quote(text)
}

// apart tells how far an instant is from another: "1.2 s before", "at that time".
func apart(at, from time.Duration) string {
	switch d := from - at; {
	case d > 0:
		return lasting(d) + " before"
	case d < 0:
		return lasting(-d) + " after"
	default:
		return "at that very time"
	}
}

func list(words []string, most int) string {
	if len(words) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(words[:most], ", "), len(words)-most)
	}
	return strings.Join(words, ", ")
}
