package message

import (
	"errors"
	"strings"
)

// CutValue splits a comma-separated header value at its first comma outside quotes and angle brackets (RFC 3261 §7.3.1).
func CutValue(s string) (value, rest string) {
	i := endOfValue(s, 0)
	if i == len(s) {
		return trim(s), ""
	}
	return trim(s[:i]), trim(s[i+1:])
}

// endOfValue is the offset of the comma behind the value that begins at offset at of s, len(s) when it is the last.
func endOfValue(s string, at int) int {
	if strings.IndexByte(s[at:], ',') < 0 {
		return len(s)
	}
	for i := at; i < len(s); i++ {
		if alphabet[s[i]]&listMark == 0 {
			continue
		}
		switch s[i] {
		case ',':
			return i
		case '"':
			if i = endOfQuote(s, i); i < 0 {
				return len(s)
			}
			i--
		case '<':
			gt := strings.IndexByte(s[i:], '>')
			if gt < 0 {
				return len(s)
			}
			i += gt
		}
	}
	return len(s)
}

var (
	errNoParam   = errors.New("a semicolon without a parameter")
	errOpenQuote = errors.New("a quote is not closed")
)

// endOfQuote is the offset behind the quoted string that begins at offset at of s, -1 when it is not closed.
func endOfQuote(s string, at int) int {
	for i := at + 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// A param says where a parameter stands, as in "a=1;b;c=\"x;y\"": its name, its value with quotes, without white space around
// either. end is also the end of the whole.
type param struct {
	name, nameEnd int
	value, end    int
	next          int  // where the next parameter begins, the end of the text behind the last
	open          bool // a quote in it is not closed
}

// nextParam reads the parameter that begins at offset at of s.
func nextParam(s string, at int) (p param) {
	end := len(s)
	if n := strings.IndexByte(s[at:], ';'); n >= 0 {
		end = at + n
	}
	if strings.IndexByte(s[at:end], '"') >= 0 {
		end, p.open = endOfQuotedParam(s, at)
	}
	p.next = min(end+1, len(s))
	p.name = skipBlank(s, at)
	p.end = backBlank(s, p.name, end)
	p.nameEnd, p.value = p.end, p.end
	if n := strings.IndexByte(s[p.name:p.end], '='); n >= 0 {
		equals := p.name + n
		p.nameEnd, p.value = backBlank(s, p.name, equals), min(skipBlank(s, equals+1), p.end)
	}
	return p
}

// endOfQuotedParam is the offset of the first semicolon from at on that stands in no quoted string.
func endOfQuotedParam(s string, at int) (end int, open bool) {
	for i := at; i < len(s); i++ {
		switch s[i] {
		case '"':
			if i = endOfQuote(s, i); i < 0 {
				return len(s), true
			}
			i--
		case ';':
			return i, false
		}
	}
	return len(s), false
}

// Param finds a parameter in "a=1;b;c=\"x;y\"", names without regard to case, quotes removed.
func Param(params, name string) (value string, ok bool) {
	for at := 0; at < len(params); {
		p := nextParam(params, at)
		if equalFold(params[p.name:p.nameEnd], name) {
			return unquote(params[p.value:p.end]), true
		}
		at = p.next
	}
	return "", false
}

func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	s = s[1 : len(s)-1]
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		out = append(out, s[i])
	}
	return string(out)
}

// Quote makes a quoted-string of s (RFC 3261 §25.1); bytes that may not stand in one become '?'.
func Quote(s string) string {
	b := make([]byte, 0, len(s)+2)
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c == 0x7f:
			b = append(b, '?')
		default:
			b = append(b, c)
		}
	}
	return string(append(b, '"'))
}

// ParseCSeq reads "4711 INVITE".
func ParseCSeq(v string) (number uint32, method string, ok bool) {
	end := 0
	for end < len(v) && !isBlank(v[end]) {
		end++
	}
	number, ok = ParseUint(v[:end])
	method = trim(v[end:])
	return number, method, ok && isToken(method)
}

// ParseUint reads a decimal number below 2^32; anything else, signs included, is not ok.
func ParseUint(s string) (uint32, bool) {
	if s == "" || len(s) > 20 {
		return 0, false
	}
	var n uint64
	for i := 0; i < len(s); i++ {
		c := s[i] - '0'
		if c > 9 {
			return 0, false
		}
		if n = n*10 + uint64(c); n > 1<<32-1 {
			return 0, false
		}
	}
	return uint32(n), true
}
