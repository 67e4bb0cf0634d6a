package system

import (
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// A Quantity is an amount in Kubernetes' notation: 100m, 0.5, 2, 128Mi, 16Gi,
// 1G. Exponents (1e3) and units below a thousandth are not taken.
type Quantity string

const (
	quantityPattern = `^[0-9]{1,15}(\.[0-9]{1,9})?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$`
	durationPattern = `^([0-9]{1,9}(\.[0-9]{1,6})?(ms|s|m|h))+$`
)

var quantityUnits = map[string]*big.Rat{
	"m": big.NewRat(1, 1000), "": big.NewRat(1, 1),
	"k": power(1000, 1), "M": power(1000, 2), "G": power(1000, 3), "T": power(1000, 4), "P": power(1000, 5),
	"Ki": power(1024, 1), "Mi": power(1024, 2), "Gi": power(1024, 3), "Ti": power(1024, 4), "Pi": power(1024, 5),
}

var quantityParts = regexp.MustCompile(`^([0-9.]+)([A-Za-z]*)$`)

func power(base, exponent int64) *big.Rat {
	return new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(base), big.NewInt(exponent), nil))
}

func (q *Quantity) parse(text string, kind ast.NodeType) error {
	switch kind {
	case ast.StringType, ast.IntegerType, ast.FloatType:
	default:
		return fmt.Errorf("%s is not an amount", describe(text, kind))
	}
	if !is(quantityPattern, text) {
		if lower := strings.ToLower(text); strings.HasSuffix(lower, "b") && is(quantityPattern, text[:len(text)-1]) {
			return fmt.Errorf("%s ends in a B that the notation does not have; write %s", quote(text), text[:len(text)-1])
		}
		return fmt.Errorf("%s is not an amount: a number, and m, k, M, G, T or Ki, Mi, Gi, Ti", quote(text))
	}
	*q = Quantity(text)
	return nil
}

// Rat is the amount; nil when the text is not one.
func (q Quantity) Rat() *big.Rat {
	parts := quantityParts.FindStringSubmatch(string(q))
	if parts == nil || !is(quantityPattern, string(q)) {
		return nil
	}
	n, ok := new(big.Rat).SetString(parts[1])
	if !ok {
		return nil
	}
	return n.Mul(n, quantityUnits[parts[2]])
}

// within says why the amount is outside of low..high.
func (q Quantity) within(low, high Quantity) error {
	value := q.Rat()
	if value == nil {
		return fmt.Errorf("%s is not an amount", quote(string(q)))
	}
	if value.Cmp(low.Rat()) < 0 {
		return fmt.Errorf("%s is less than the least, %s", q, low)
	}
	if value.Cmp(high.Rat()) > 0 {
		return fmt.Errorf("%s is more than the most, %s", q, high)
	}
	return nil
}

// checkCPU refuses what is well-formed and cannot be meant.
func (q Quantity) checkCPU() error {
	text := string(q)
	if strings.HasSuffix(text, "i") {
		return fmt.Errorf("%s is a unit of memory; CPU is counted in cores (1) or thousandths (100m)", text)
	}
	if err := q.within("1m", "64"); err != nil {
		if !strings.HasSuffix(text, "m") && is(wholePattern, text) {
			return fmt.Errorf("%w: %s means that many whole cores; thousandths of a core are %sm", err, text, text)
		}
		return err
	}
	if milli := new(big.Rat).Mul(q.Rat(), big.NewRat(1000, 1)); !milli.IsInt() {
		return fmt.Errorf("%s is finer than a thousandth of a core", text)
	}
	return nil
}

func (q Quantity) checkBytes(low, high Quantity) error {
	text := string(q)
	if number, ok := strings.CutSuffix(text, "m"); ok {
		return fmt.Errorf("%s is thousandths of a byte; mebibytes are %sMi", text, number)
	}
	if err := q.within(low, high); err != nil {
		if is(wholePattern, text) {
			return fmt.Errorf("%w: %s means bytes; mebibytes are %sMi", err, text, text)
		}
		return err
	}
	if !q.Rat().IsInt() {
		return fmt.Errorf("%s is not a whole number of bytes", text)
	}
	return nil
}

func parseDuration(text string, kind ast.NodeType) (time.Duration, error) {
	if (kind == ast.IntegerType || kind == ast.FloatType) && text != "0" {
		return 0, fmt.Errorf("%s has no unit; %sms or %ss is meant", text, text, text)
	}
	if kind != ast.StringType || !is(durationPattern, text) {
		return 0, fmt.Errorf("%s is not a time: a number and ms, s, m or h", describe(text, kind))
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%s is not a time: a number and ms, s, m or h", quote(text))
	}
	if d == 0 {
		return 0, errors.New("is nothing; leave the field out, or give it time")
	}
	return d, nil
}
