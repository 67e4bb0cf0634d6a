// Package wording writes numbers as a person reads them. Its functions stand
// alone; call any. It rounds no duration and knows no units but percent.
package wording

import (
	"math"
	"strconv"
	"strings"
)

// Count writes a number with commas.
func Count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Several is a count with its noun.
func Several(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + many
}

// Decimal writes at most so many digits after the point, and no zero at the end.
func Decimal(v float64, digits int) string {
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// Share writes a part of 1 as percent, rounded down so that it never says more
// than there is: 99.9996 % is not 100 %.
func Share(v float64) string { return Decimal(math.Floor(v*1e5+1e-6)/1e3, 3) + " %" }
