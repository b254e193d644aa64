package message

// What a byte may be in the grammar of RFC 3261 §25.1, one bit each, so that all scanners share one table of 256 bytes.
const (
	tokenChar  uint8 = 1 << iota
	hostChar         // host name or IPv4 address; '_' because phones send it
	hexChar          // hexadecimal digit
	schemeChar       // URI scheme behind its first letter
	callIDChar       // generous: a Call-ID is only ever compared. What would end a value or a line may not stand in it
	uriMark          // ends a part of a URI, begins an escape or may not stand in a URI
	listMark         // ends a value of a list, or begins what may hold commas
)

var alphabet = func() (t [256]uint8) {
	for c := range t {
		if c <= ' ' || c == 0x7f {
			t[c] |= uriMark
		} else if c != ',' && c != ';' {
			t[c] |= callIDChar
		}
	}
	add := func(chars string, kind uint8) {
		for i := range len(chars) {
			t[chars[i]] |= kind
		}
	}
	const letters, digits = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
	add(letters+digits+"-.!%*_+`'~", tokenChar)
	add(letters+digits+"-._", hostChar)
	add(digits+"abcdefABCDEF", hexChar)
	add(letters+digits+"+-.", schemeChar)
	add(`<>"%@;?`, uriMark)
	add(`,"<`, listMark)
	return t
}()

// skip is the offset of the first byte of s from at on that is not of the kind.
func skip(s string, at int, kind uint8) int {
	for at < len(s) && alphabet[s[at]]&kind != 0 {
		at++
	}
	return at
}

// all tells whether s holds bytes of the kind only, and at least one.
func all(s string, kind uint8) bool { return s != "" && skip(s, 0, kind) == len(s) }

func isToken(s string) bool { return all(s, tokenChar) }

func isHex(c byte) bool { return alphabet[c]&hexChar != 0 }

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// skipBlank is the offset of the first byte of s from at on that is no white space.
func skipBlank(s string, at int) int {
	for at < len(s) && isBlank(s[at]) {
		at++
	}
	return at
}

// backBlank is the offset behind the last byte of s[at:end] that is no white space.
func backBlank(s string, at, end int) int {
	for end > at && isBlank(s[end-1]) {
		end--
	}
	return end
}

func trim(s string) string {
	at := skipBlank(s, 0)
	return s[at:backBlank(s, at, len(s))]
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// equalFold compares two ASCII strings without regard to case.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		if a[i] != b[i] && lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// A span is a part of a message's text: offsets fit into 16 bits, because MaxBytes does.
type span struct{ from, to uint16 }

func spanOf(from, to int) span { return span{uint16(from), uint16(to)} }

func (p span) of(s string) string { return s[p.from:p.to] }
