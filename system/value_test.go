package system_test

import (
	"math/big"
	"testing"

	"github.com/nines-ha/nines/system"
)

func TestQuantity(t *testing.T) {
	cases := []struct {
		text system.Quantity
		want *big.Rat
	}{
		{"100m", big.NewRat(1, 10)},
		{"0.5", big.NewRat(1, 2)},
		{"128Mi", big.NewRat(128<<20, 1)},
		{"1.5Gi", big.NewRat(3<<29, 1)},
		{"2G", big.NewRat(2_000_000_000, 1)},
		{"1e3", nil},
		{"", nil},
		{"Mi", nil},
		{"1mi", nil},
		{"-1", nil},
	}
	for _, c := range cases {
		got := c.text.Rat()
		if (got == nil) != (c.want == nil) || got != nil && got.Cmp(c.want) != 0 {
			t.Errorf("%q is %v, want %v", c.text, got, c.want)
		}
	}
}

func TestPercent(t *testing.T) {
	for percent, want := range map[system.Percent]string{99_900_000: "99.9%", 100_000_000: "100%", 99_999_990: "99.99999%", 500_000: "0.5%"} {
		if got := percent.String(); got != want {
			t.Errorf("%d is %s, want %s", percent, got, want)
		}
	}
	if got := system.Percent(99_900_000).Fraction(); got != 0.999 {
		t.Errorf("99.9%% of one is %v", got)
	}
}

// Kubernetes rounds a percentage of a disruption budget up.
func TestAmountRoundsUp(t *testing.T) {
	cases := []struct {
		amount system.Amount
		of     int
		want   int
	}{
		{system.Amount{Count: 2}, 3, 2},
		{system.Amount{Percent: 25_000_000}, 3, 1},
		{system.Amount{Percent: 67_000_000}, 3, 3},
		{system.Amount{Percent: 50_000_000}, 4, 2},
	}
	for _, c := range cases {
		if got := c.amount.Of(c.of); got != c.want {
			t.Errorf("%s of %d is %d, want %d", c.amount, c.of, got, c.want)
		}
	}
}
