package vss

import (
	"math"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	signals := Lookup()
	cases := []struct {
		signal string
		value  float64
		want   string
	}{
		{Speed, 0, ""},
		{Speed, 46.670976, ""},
		{Speed, 450, ""},
		{Speed, 450.1, "450.1 is outside -150 to 450 km/h"},
		{Latitude, -90, ""},
		{Latitude, -90.0001, "outside -90 to 90 degrees"},
		{Longitude, 1555.6333, "1555.6333 is outside -180 to 180 degrees"},
		{ChargeCurrent, 100.01, "outside 0 to 100 percent"},
		{SelectedGear, GearDrive, ""},
		{SelectedGear, 128, "outside -128 to 127"},
		{CurrentGear, 1.5, "1.5 is not a whole number"},
		{AirTemperature, math.NaN(), "not a finite number"},
		{AirTemperature, math.Inf(1), "not a finite number"},
	}
	for _, c := range cases {
		err := signals[c.signal].Check(c.value)
		if c.want == "" && err != nil {
			t.Errorf("%s %v: %v", c.signal, c.value, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s %v: got %v, want %q", c.signal, c.value, err, c.want)
		}
	}
}

func TestCatalogueNamesAreUnique(t *testing.T) {
	if got, want := len(Lookup()), len(Catalogue()); got != want {
		t.Errorf("%d names for %d signals", got, want)
	}
	for _, s := range Catalogue() {
		if s.Min >= s.Max || !strings.HasPrefix(s.Name, "Vehicle.") {
			t.Errorf("bad signal %+v", s)
		}
	}
}

func TestParseVIN(t *testing.T) {
	cases := []struct{ name, vin, want string }{
		{"all ones, the textbook number", "11111111111111111", ""},
		{"North America", "1M8GDM9AXKP042788", ""},
		{"North America, wrong check digit", "1M8GDM9A1KP042788", `must be 'X' here, not '1'`},
		{"China, wrong check digit", "LSVAU033072012345", "must be"},
		{"Europe has no check digit", "WVWZZZ1JZXW000001", ""},
		{"short", "WVWZZZ1JZXW00000", "17 characters, this one 16"},
		{"empty", "", "this one 0"},
		{"letter I", "WVWZZZ1JZXW0000I1", "character 16"},
		{"lower case", "wvwzzz1jzxw000001", "in capitals"},
		{"not ASCII", "WVWZZZ1JZXW0000é", "character 16"},
		{"synthetic, wrong check digit", "0SYTESTS000000001", "must be"},
	}
	for _, c := range cases {
		_, err := ParseVIN(c.vin)
		if c.want == "" && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestSyntheticVIN(t *testing.T) {
	for _, serial := range []string{"1", "2619", "08929", "ABCD0001"} {
		vin, err := SyntheticVIN("TESTS", serial)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseVIN(string(vin))
		if err != nil || again != vin || !vin.Synthetic() {
			t.Errorf("%s: parse gives %q, %v; synthetic %v", vin, again, err, vin.Synthetic())
		}
	}
	for _, bad := range [][2]string{{"TEST", "1"}, {"TESTS", ""}, {"TESTS", "123456789"}, {"TESTI", "1"}, {"TESTS", "a"}} {
		if vin, err := SyntheticVIN(bad[0], bad[1]); err == nil {
			t.Errorf("%v became %s", bad, vin)
		}
	}
}

func FuzzParseVIN(f *testing.F) {
	f.Add("1M8GDM9AXKP042788")
	f.Add("0SYTESTS000000001")
	f.Fuzz(func(t *testing.T, text string) {
		vin, err := ParseVIN(text)
		if err == nil && string(vin) != text {
			t.Errorf("%q became %q", text, vin)
		}
	})
}
