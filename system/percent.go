package system

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Percent is a share in millionths of a percent, so that seven nines are
// exact: 99.9 % is 99_900_000.
type Percent int64

const (
	onePercent     = 1_000_000
	percentPattern = `^(100|(0|[1-9][0-9]?)(\.[0-9]{1,6})?)%$`
	finePattern    = `^(0|[1-9][0-9]?)\.[0-9]{7,}%$`
	largePattern   = `^[1-9][0-9]{2,}(\.[0-9]+)?%$`
	rangePattern   = `^[1-9][0-9]{0,3}\.\.[1-9][0-9]{0,3}$`
	amountPattern  = `^([1-9][0-9]?|100)%$`
)

func (p *Percent) parse(text string, kind ast.NodeType) error {
	if kind == ast.IntegerType || kind == ast.FloatType {
		return fmt.Errorf("%s has no unit; %s%% is meant", text, text)
	}
	switch {
	case kind == ast.StringType && is(finePattern, text):
		return fmt.Errorf("%s has more than six digits after the point", quote(text))
	case kind == ast.StringType && is(largePattern, text) && !is(percentPattern, text):
		return fmt.Errorf("%s is more than 100%%", quote(text))
	case kind != ast.StringType || !is(percentPattern, text):
		return fmt.Errorf("%s is not a share from 0%% to 100%%", describe(text, kind))
	}
	whole, fraction, _ := strings.Cut(strings.TrimSuffix(text, "%"), ".")
	n, err := strconv.ParseInt(whole+(fraction + "000000")[:6], 10, 64)
	if err != nil {
		return fmt.Errorf("%s is not a share from 0%% to 100%%", quote(text))
	}
	*p = Percent(n)
	return nil
}

// Fraction is the share of one: 0.999 for 99.9 %.
func (p Percent) Fraction() float64 {
	return float64(p) / (100 * onePercent)
}

// Percent is the share in percent: 99.9 for 99.9 %.
func (p Percent) Percent() float64 {
	return float64(p) / onePercent
}

// Whole is the share in percent, rounded down.
func (p Percent) Whole() int {
	return int(p / onePercent)
}

func (p Percent) String() string {
	text := fmt.Sprintf("%d.%06d", p/onePercent, p%onePercent)
	return strings.TrimRight(strings.TrimRight(text, "0"), ".") + "%"
}

// A Range is a number of replicas: fixed when Min is Max.
type Range struct {
	Min, Max int
}

// Scales says whether the number follows the load.
func (r Range) Scales() bool {
	return r.Max > r.Min
}

func (r Range) String() string {
	if !r.Scales() {
		return strconv.Itoa(r.Min)
	}
	return fmt.Sprintf("%d..%d", r.Min, r.Max)
}

func (r *Range) parse(text string, kind ast.NodeType) error {
	if kind == ast.IntegerType && is(wholePattern, text) {
		n, err := strconv.Atoi(text)
		if err != nil || n > maxReplicas {
			return fmt.Errorf("%s is more than the most, %d", text, maxReplicas)
		}
		if n < 1 {
			return errors.New("0 replicas answer nobody; at least 1 is needed, and 3 for three zones")
		}
		*r = Range{n, n}
		return nil
	}
	if kind != ast.StringType || !is(rangePattern, text) {
		if low, high, ok := strings.Cut(text, "-"); ok && is(rangePattern, low+".."+high) {
			return fmt.Errorf("%s is not a range; write %s..%s", quote(text), low, high)
		}
		return fmt.Errorf("%s is neither a number nor a range FROM..TO", describe(text, kind))
	}
	low, high, _ := strings.Cut(text, "..")
	r.Min, _ = strconv.Atoi(low)
	r.Max, _ = strconv.Atoi(high)
	return nil
}

// An Amount is a number of replicas or a share of them; the other is 0.
type Amount struct {
	Count   int
	Percent Percent
}

func (a *Amount) parse(text string, kind ast.NodeType) error {
	if kind == ast.StringType && is(amountPattern, text) {
		return a.Percent.parse(text, kind)
	}
	n, err := parseInt(text, kind)
	if err != nil {
		return fmt.Errorf("%s is neither a whole number nor a whole percentage", describe(text, kind))
	}
	if n < 1 || n > maxReplicas {
		return fmt.Errorf("%d is not from 1 to %d", n, maxReplicas)
	}
	a.Count = n
	return nil
}

// Of is the amount of n replicas, rounded up as Kubernetes does.
func (a Amount) Of(n int) int {
	if a.Percent == 0 {
		return a.Count
	}
	return (n*a.Percent.Whole() + 99) / 100
}

// IsZero says that nothing was given.
func (a Amount) IsZero() bool {
	return a == Amount{}
}

func (a Amount) String() string {
	if a.Percent != 0 {
		return a.Percent.String()
	}
	return strconv.Itoa(a.Count)
}

const maxReplicas = 1000
