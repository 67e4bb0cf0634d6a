package vss

import (
	"fmt"
	"strings"
)

// SyntheticWMI begins every VIN that this project makes up. ISO 3780 gives no
// region the first character 0, so no maker has it and no true VIN begins so.
const SyntheticWMI = "0SY"

// A VIN is a vehicle identification number that ParseVIN or SyntheticVIN gave out.
type VIN string

const vinLength = 17

// ParseVIN checks a vehicle identification number (ISO 3779): 17 of the
// characters A-Z and 0-9 without I, O and Q, in capitals. The check digit at
// the ninth place is law in North America (first character 1 to 5) and China
// (L) and free elsewhere, so it is verified there and for synthetic numbers,
// which carry it too.
func ParseVIN(text string) (VIN, error) {
	if len(text) != vinLength {
		return "", fmt.Errorf("a VIN has %d characters, this one %d", vinLength, len(text))
	}
	for i := range len(text) {
		if _, ok := transliterate(text[i]); !ok {
			return "", fmt.Errorf("a VIN has only the characters A-Z without I, O, Q and 0-9, in capitals; character %d is %q", i+1, text[i])
		}
	}
	vin := VIN(text)
	if vin.checked() {
		if want := checkDigit(text); text[8] != want {
			return "", fmt.Errorf("the check digit of a VIN that begins with %q must be %q here, not %q", text[:1], want, text[8])
		}
	}
	return vin, nil
}

// Synthetic says whether a VIN was made up here and belongs to no vehicle.
func (v VIN) Synthetic() bool { return strings.HasPrefix(string(v), SyntheticWMI) }

func (v VIN) checked() bool {
	first := v[0]
	return first >= '1' && first <= '5' || first == 'L' || v.Synthetic()
}

// SyntheticVIN makes a VIN that is the same for the same input, valid, and
// labelled by SyntheticWMI. The source is five characters, the serial eight,
// padded with zeros on the left; both in VIN characters.
func SyntheticVIN(source, serial string) (VIN, error) {
	if len(source) != 5 || len(serial) == 0 || len(serial) > 8 {
		return "", fmt.Errorf("a synthetic VIN takes five characters of source and one to eight of serial, not %q and %q", source, serial)
	}
	text := SyntheticWMI + source + "0" + strings.Repeat("0", 8-len(serial)) + serial
	for i := range len(text) {
		if _, ok := transliterate(text[i]); !ok {
			return "", fmt.Errorf("%q has a character that no VIN has", text)
		}
	}
	return VIN(text[:8] + string(checkDigit(text)) + text[9:]), nil
}

// checkDigit is the weighted sum modulo 11 of 49 CFR 565.15, which GB 16735
// shares; the ninth character has weight 0.
func checkDigit(text string) byte {
	weights := [vinLength]int{8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2}
	sum := 0
	for i, weight := range weights {
		value, _ := transliterate(text[i])
		sum += value * weight
	}
	return "0123456789X"[sum%11]
}

func transliterate(c byte) (int, bool) {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0'), true
	case c >= 'A' && c <= 'H':
		return int(c-'A') + 1, true
	case c >= 'J' && c <= 'N':
		return int(c-'J') + 1, true
	case c == 'P':
		return 7, true
	case c == 'R':
		return 9, true
	case c >= 'S' && c <= 'Z':
		return int(c-'S') + 2, true
	}
	return 0, false
}
