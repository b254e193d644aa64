package message

import (
	"errors"
	"strconv"
	"strings"
)

// A URI is a sip, sips or other URI taken apart (RFC 3261 §19.1). The parts of a sip URI are as written, escapes included;
// UserDecoded and AOR undo them.
type URI struct {
	Scheme   string // lower case
	User     string
	Password string
	Host     string // lower case; IPv6 without brackets
	Port     int    // 0 when absent
	Params   string // without the first semicolon
	Headers  string // without the question mark
	Opaque   string // what stands behind the colon of another scheme (tel, urn ...)
}

// ParseURI reads a URI. For schemes other than sip and sips only Scheme and Opaque are filled.
func ParseURI(s string) (URI, error) {
	var u URI
	err := u.split(s)
	u.Scheme, u.Host = asciiLower(u.Scheme), asciiLower(u.Host)
	return u, err
}

// split is ParseURI but for the case of scheme and host.
func (u *URI) split(s string) (err error) {
	colon := strings.IndexByte(s, ':')
	if colon <= 0 || !validScheme(s[:colon]) {
		return errors.New("no URI scheme")
	}
	u.Scheme = s[:colon]
	rest := s[colon+1:]
	if err := checkURIBytes(rest); err != nil {
		return err
	}
	if !equalFold(u.Scheme, "sip") && !equalFold(u.Scheme, "sips") {
		u.Opaque = rest
		if rest == "" {
			return errors.New("nothing behind the scheme")
		}
		return nil
	}
	if at := userinfoEnd(rest); at >= 0 {
		u.User, u.Password, _ = strings.Cut(rest[:at], ":")
		rest = rest[at+1:]
		if u.User == "" {
			return errors.New("nothing before '@'")
		}
	}
	if q := strings.IndexByte(rest, '?'); q >= 0 {
		rest, u.Headers = rest[:q], rest[q+1:]
	}
	if semi := strings.IndexByte(rest, ';'); semi >= 0 {
		rest, u.Params = rest[:semi], rest[semi+1:]
	}
	u.Host, u.Port, err = splitHostPort(rest)
	return err
}

// userinfoEnd is the offset of the '@' behind the userinfo, -1 without one. A user part may hold ';' and '?' (§25.1), a
// host, its parameters and headers may not hold '@' unescaped.
func userinfoEnd(s string) int { return strings.LastIndexByte(s, '@') }

func validScheme(s string) bool {
	for i := 0; i < len(s); i++ {
		c := lower(s[i])
		if !('a' <= c && c <= 'z' || i > 0 && ('0' <= c && c <= '9' || c == '+' || c == '-' || c == '.')) {
			return false
		}
	}
	return s != ""
}

// uriSpecial are the bytes that may not stand in a URI, and the percent sign.
var uriSpecial = func() (t [256]bool) {
	for c := range ' ' + 1 {
		t[c] = true
	}
	t[0x7f], t['<'], t['>'], t['"'], t['%'] = true, true, true, true, true
	return t
}()

func checkURIBytes(s string) error {
	for i := 0; i < len(s); i++ {
		if !uriSpecial[s[i]] {
			continue
		}
		if s[i] != '%' {
			return errors.New("a character that must be escaped")
		}
		if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
			return errors.New("'%' without two hexadecimal digits")
		}
	}
	return nil
}

// checkRequestURI is checkURI for a Request-URI, which must not bring headers of its own: they would become part of the
// request at the next element (RFC 3261 §19.1.1 table 1, RFC 4475 §3.1.2.11).
func checkRequestURI(s string) error {
	var u URI
	err := u.split(s)
	if err == nil && u.Headers != "" {
		err = errors.New("a Request-URI cannot bring headers")
	}
	return err
}

// checkURI tells whether s parses, without the cost of keeping the parts.
func checkURI(s string) error {
	var u URI
	return u.split(s)
}

// RequestURI is a URI as it may stand in a request line: without headers and without a method parameter (RFC 3261 §19.1.1
// table 1, §16.6 step 2). Headers in a contact would else become headers of the request at the next element (§19.1.5).
func RequestURI(s string) string {
	if strings.IndexByte(s, '?') < 0 && !strings.Contains(asciiLower(s), ";method") {
		return s
	}
	u, err := ParseURI(s)
	if err != nil || u.Opaque != "" {
		return s
	}
	u.Headers = ""
	kept := make([]string, 0, 4)
	for rest := u.Params; rest != ""; {
		var p string
		p, rest = cutParam(rest)
		if k, _, _ := strings.Cut(p, "="); !equalFold(k, "method") {
			kept = append(kept, p)
		}
	}
	u.Params = strings.Join(kept, ";")
	return u.String()
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= lower(c) && lower(c) <= 'f'
}

func asciiLower(s string) string {
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			return strings.ToLower(s)
		}
	}
	return s
}

// Unescape undoes %HH (RFC 3261 §19.1.2). A malformed escape is kept as it stands.
func Unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			n, _ := strconv.ParseUint(s[i+1:i+3], 16, 8)
			out = append(out, byte(n))
			i += 2
			continue
		}
		out = append(out, s[i])
	}
	return string(out)
}

// Escape is the inverse of Unescape for a user part (RFC 3261 §25.1).
func Escape(s string) string {
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'a' <= lower(c) && lower(c) <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-_.!~*'()&=+$,/", c) >= 0 {
			out = append(out, c)
		} else {
			out = append(out, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(out)
}

// normalEscapes undoes the escapes that mean the same as their character; an escaped reserved character does not
// (RFC 3261 §19.1.4).
func normalEscapes(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' || i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
			out = append(out, s[i])
			continue
		}
		n, _ := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if c := byte(n); strings.IndexByte(";/?:@&=+$,%", c) >= 0 {
			out = append(out, '%', lower(s[i+1]), lower(s[i+2]))
		} else {
			out = append(out, c)
		}
		i += 2
	}
	return string(out)
}

// UserDecoded is the user part with escapes undone. When it is a telephone number, the parameters behind its semicolon are
// left out (RFC 3261 §19.1.6); in any other user part a semicolon is a letter like others (RFC 4475 §3.1.1.9).
func (u URI) UserDecoded() string {
	if number, _, ok := strings.Cut(u.User, ";"); ok && isNumber(number) {
		return Unescape(number)
	}
	return Unescape(u.User)
}

// isNumber tells a telephone number, global or local, with visual separators (RFC 3966 §3).
func isNumber(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(isHex(c) || c == '*' || c == '#' || c == '-' || c == '.' || c == '(' || c == ')' || c == '+' && i == 0) {
			return false
		}
	}
	return s != ""
}

// Param is a URI parameter; ok tells an empty one from an absent one.
func (u URI) Param(name string) (value string, ok bool) { return Param(u.Params, name) }

// Transport is the lower-case transport a sip URI asks for: its transport parameter, tls for sips, else "".
func (u URI) Transport() string {
	if t, ok := Param(u.Params, "transport"); ok {
		return asciiLower(t)
	}
	if u.Scheme == "sips" {
		return "tls"
	}
	return ""
}

// String writes the URI again.
func (u URI) String() string { return string(u.Append(nil)) }

// Append writes the URI to dst.
func (u URI) Append(dst []byte) []byte {
	dst = append(append(dst, u.Scheme...), ':')
	if u.Opaque != "" {
		return append(dst, u.Opaque...)
	}
	if u.User != "" {
		dst = append(dst, u.User...)
		if u.Password != "" {
			dst = append(append(dst, ':'), u.Password...)
		}
		dst = append(dst, '@')
	}
	dst = appendHostPort(dst, u.Host, u.Port)
	if u.Params != "" {
		dst = append(append(dst, ';'), u.Params...)
	}
	if u.Headers != "" {
		dst = append(append(dst, '?'), u.Headers...)
	}
	return dst
}

// SameURI compares two URIs as the registrar must (RFC 3261 §19.1.4): scheme, user and password to the letter after
// unescaping, host without case, ports equal (an absent one equals only an absent one), the parameters user, ttl, method,
// maddr and transport equal, other parameters equal where both have them, headers equal.
func SameURI(a, b string) bool {
	if a == b {
		return true
	}
	ua, errA := ParseURI(a)
	ub, errB := ParseURI(b)
	if errA != nil || errB != nil || ua.Scheme != ub.Scheme || ua.Port != ub.Port || ua.Host != ub.Host {
		return false
	}
	if normalEscapes(ua.User) != normalEscapes(ub.User) || normalEscapes(ua.Password) != normalEscapes(ub.Password) || !strings.EqualFold(ua.Opaque, ub.Opaque) {
		return false
	}
	return sameParams(ua.Params, ub.Params) && sameParams(ub.Params, ua.Params) && sameHeaders(ua.Headers, ub.Headers)
}

func sameParams(a, b string) bool {
	for rest := a; rest != ""; {
		var p string
		p, rest = cutParam(rest)
		k, v, _ := strings.Cut(p, "=")
		other, ok := Param(b, k)
		switch {
		case ok && !strings.EqualFold(normalEscapes(v), normalEscapes(other)):
			return false
		case !ok && (equalFold(k, "user") || equalFold(k, "ttl") || equalFold(k, "method") || equalFold(k, "maddr") || equalFold(k, "transport")):
			return false
		}
	}
	return true
}

func sameHeaders(a, b string) bool {
	if a == b {
		return true
	}
	as, bs := strings.Split(a, "&"), strings.Split(b, "&")
	if len(as) != len(bs) {
		return false
	}
	left := make(map[string]int, len(as))
	for _, h := range as {
		left[strings.ToLower(normalEscapes(h))]++
	}
	for _, h := range bs {
		key := strings.ToLower(normalEscapes(h))
		if left[key]--; left[key] < 0 {
			return false
		}
	}
	return true
}
