package dialplan

import "strings"

// country is how people of a country dial.
type country struct {
	code   string // calling code
	abroad string // before the calling code of another country
	trunk  string // before a national number; "" = national numbers are dialled as they are
}

// countries are those that do not dial as most do: 00 abroad, 0 before national numbers.
func countries() []country {
	return []country{
		{"1", "011", "1"},
		{"7", "810", "8"},
		{"30", "00", ""},
		{"34", "00", ""},
		{"36", "00", "06"},
		{"39", "00", ""}, // the 0 belongs to the number
		{"45", "00", ""},
		{"47", "00", ""},
		{"48", "00", ""},
		{"52", "00", ""},
		{"61", "0011", "0"},
		{"65", "000", ""},
		{"81", "010", "0"},
		{"82", "00", "0"},
		{"351", "00", ""},
		{"352", "00", ""},
		{"354", "00", ""},
		{"356", "00", ""},
		{"357", "00", ""},
		{"370", "00", "0"},
		{"371", "00", ""},
		{"372", "00", ""},
		{"377", "00", ""},
		{"420", "00", ""},
		{"421", "00", "0"},
		{"852", "001", ""},
		{"853", "00", ""},
	}
}

func countryOf(code string) country {
	for _, c := range countries() {
		if c.code == code {
			return c
		}
	}
	return country{code, "00", "0"}
}

// An E.164 number has at most 15 digits; fewer than 5 are no number abroad or at home that anybody dials in full.
const (
	mostDigits   = 15
	fewestDigits = 5
)

// e164 appends what was dialled as "+" and digits to dst, which it returns unchanged when that is no such number. Blanks and the signs that
// people write between digits are left out. A country without a code takes numbers with "+" only.
func (c country) e164(dst []byte, dialled string) []byte {
	var buffer [mostDigits + 8]byte
	digits, plus := buffer[:0], false
	for i := range len(dialled) {
		switch b := dialled[i]; {
		case b >= '0' && b <= '9':
			if len(digits) == cap(buffer[:]) {
				return dst
			}
			digits = append(digits, b)
		case b == '+' && len(digits) == 0 && !plus:
			plus = true
		case strings.IndexByte(" -.()/", b) >= 0:
		default:
			return dst
		}
	}
	home := ""
	switch {
	case plus:
	case c.code == "":
		return dst
	case strings.HasPrefix(string(digits), c.abroad):
		digits = digits[len(c.abroad):]
	case c.trunk != "" && c.code != "1" && !strings.HasPrefix(string(digits), c.trunk):
		return dst // neither a national number nor one abroad
	default:
		home = c.code
		if c.trunk != "" && strings.HasPrefix(string(digits), c.trunk) {
			digits = digits[len(c.trunk):]
		}
	}
	if n := len(home) + len(digits); n < fewestDigits || n > mostDigits || len(home) == 0 && digits[0] == '0' {
		return dst
	}
	return append(append(append(dst, '+'), home...), digits...)
}

// isE164 tells whether s is "+" and 5 to 15 digits.
func isE164(s string) bool {
	digits, plus := strings.CutPrefix(s, "+")
	return plus && len(digits) >= fewestDigits && len(digits) <= mostDigits && digits[0] != '0' && strings.Trim(digits, "0123456789") == ""
}

// E164 reads a number as people of a country dial it, given by its calling code ("44", "" = none is known): "+" and digits, or "" when it is no
// number of the world's telephone network.
func E164(code, dialled string) string { return string(countryOf(code).e164(nil, dialled)) }

// Dialling is what people of a country dial before numbers abroad, and before numbers of their own; "" when they dial nothing.
func Dialling(code string) (abroad, trunk string) {
	c := countryOf(code)
	return c.abroad, c.trunk
}
