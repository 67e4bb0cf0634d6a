package wording

import "testing"

func TestWording(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{Count(0), "0"}, {Count(999), "999"}, {Count(1000), "1,000"}, {Count(-1234567), "-1,234,567"},
		{Several(1, "node", "nodes"), "1 node"}, {Several(1200, "node", "nodes"), "1,200 nodes"},
		{Decimal(1.50, 2), "1.5"}, {Decimal(20, 0), "20"}, {Decimal(20, 2), "20"},
		{Share(1), "100 %"}, {Share(0.999996), "99.999 %"}, {Share(0.999), "99.9 %"},
	} {
		if test.got != test.want {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
}
